"""Presets: kept by history, copied into sessions."""

from services.api.ports.sessions import Asking
from services.api.sessions.sessions import Sessions
from shared.contracts import presets as asked
from shared.contracts.history import CreateSession, Session, SessionSettings
from shared.contracts.ids import UserId, new_preset_id, new_session_id
from shared.contracts.presets import (
    CreatePreset,
    DeletePreset,
    ListPresets,
    Preset,
    PresetPage,
    PresetQuery,
    PresetReply,
    UpdatePreset,
)
from shared.errors import PresetNotFound


class Presets:
    """The use case behind the preset routes.

    Raises (every call):
        PresetNotFound: the user may not see it, or may not change what he sees.
        HistoryUnavailable: nobody answers, or its database is away.
    """

    def __init__(self, asking: Asking, sessions: Sessions) -> None:
        self._asking = asking
        self._sessions = sessions

    async def page(self, user_id: UserId, limit: int, cursor: str | None) -> PresetPage:
        """The user's own presets and all public ones, by name."""
        query = ListPresets(user_id=user_id, limit=limit, cursor=cursor)
        return await self._asking.ask(asked.LIST_PRESETS, query)

    async def get(self, user_id: UserId, preset_id: str) -> Preset:
        """One of these."""
        query = PresetQuery(user_id=user_id, preset_id=preset_id)
        return _preset(await self._asking.ask(asked.GET_PRESET, query))

    async def create(
        self,
        user_id: UserId,
        settings: SessionSettings,
        *,
        name: str,
        description: str,
        public: bool,
    ) -> Preset:
        """A new one of the user's."""
        command = CreatePreset(
            **settings.model_dump(),
            user_id=user_id,
            preset_id=new_preset_id(),
            name=name,
            description=description,
            public=public,
        )
        return _preset(await self._asking.ask(asked.CREATE_PRESET, command))

    async def update(self, command: UpdatePreset) -> Preset:
        """Change one of the user's own.

        Raises:
            VersionConflict: it has another version than the command names.
        """
        return _preset(await self._asking.ask(asked.UPDATE_PRESET, command))

    async def delete(self, user_id: UserId, preset_id: str, version: int | None) -> None:
        """Remove one of the user's own.

        Raises:
            VersionConflict: it has another version than ``version``.
        """
        command = DeletePreset(user_id=user_id, preset_id=preset_id, version=version)
        await self._asking.ask(asked.DELETE_PRESET, command)

    async def session(self, user_id: UserId, preset_id: str, title: str | None) -> Session:
        """A new session of the user's with a copy of the preset's settings.

        Later changes of the preset do not reach it.
        """
        preset = await self.get(user_id, preset_id)
        command = CreateSession(
            **preset.model_dump(include=set(SessionSettings.model_fields)),
            user_id=user_id,
            session_id=new_session_id(),
            title=title,
            preset_id=preset.id,
        )
        return await self._sessions.create(command)


def _preset(reply: PresetReply) -> Preset:
    if reply.preset is None:
        raise PresetNotFound("This preset does not exist.", param="preset_id")
    return reply.preset
