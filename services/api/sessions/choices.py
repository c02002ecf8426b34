"""What users and this installation have chosen for where a request says nothing."""

from typing import Final

from services.api.background import Background
from services.api.ports.broker import Clock
from services.api.ports.sessions import Asking
from services.api.sessions.remembered import Remembered
from shared.contracts import presets as asked
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId
from shared.contracts.live import SettingsChanged
from shared.contracts.presets import (
    AllModelSettings,
    ChangePreferences,
    ModelSettings,
    ModelSettingsQuery,
    Preferences,
    PreferencesQuery,
    SetModelSettings,
    SetPreferences,
)

_FRESH: Final = 3.0
"""Seconds: a change whose word was lost on the way is seen here after so long."""


class Choices:
    """What turns ask for is remembered: they cost no two questions more.

    It is forgotten at once where history says that it has changed, and after ``_FRESH`` seconds in
    any case. Who wants to see what holds has it read.

    Raises (every call):
        HistoryUnavailable: nobody answers, or its database is away.
    """

    def __init__(self, asking: Asking, background: Background, clock: Clock) -> None:
        self._asking = asking
        self._preferences = Remembered(self._read_preferences, background, clock, seconds=_FRESH)
        self._models = Remembered(self._read_models, background, clock, seconds=_FRESH)

    async def preferences(self, user_id: UserId) -> Preferences:
        """What the user prefers, as far as a turn needs to know."""
        return await self._preferences.get(user_id)

    async def read_preferences(self, user_id: UserId) -> Preferences:
        """What the user prefers now."""
        self._preferences.forget(user_id)
        return await self._preferences.get(user_id)

    async def set_preferences(self, user_id: UserId, preferences: Preferences) -> Preferences:
        """Replace them."""
        command = SetPreferences(user_id=user_id, preferences=preferences)
        since = self._preferences.moment
        stored = (await self._asking.ask(asked.SET_PREFERENCES, command)).preferences
        self._preferences.put(user_id, stored, since)
        return stored

    async def change_preferences(
        self, user_id: UserId, settings: SessionSettings, cleared: list[str]
    ) -> Preferences:
        """Set these, take those away, and leave the others."""
        command = ChangePreferences(user_id=user_id, settings=settings, cleared=cleared)
        since = self._preferences.moment
        stored = (await self._asking.ask(asked.CHANGE_PREFERENCES, command)).preferences
        self._preferences.put(user_id, stored, since)
        return stored

    async def models(self) -> AllModelSettings:
        """What is said of models, by their full names, and the default of all users."""
        return await self._models.get(None)

    async def read_models(self) -> AllModelSettings:
        """The same, as it is now."""
        self._models.forget(None)
        return await self._models.get(None)

    def changed(self, event: SettingsChanged) -> None:
        """Some gateway has had it changed."""
        if event.user_id is None:
            self._models.forget(None)
        else:
            self._preferences.forget(event.user_id)

    def missed(self) -> None:
        """Some may have been changed unheard."""
        self._models.forget_all()
        self._preferences.forget_all()

    async def set_model(self, settings: ModelSettings) -> AllModelSettings:
        """Replace what is said of one model."""
        return await self._set(SetModelSettings(settings=settings))

    async def set_default(self, model: str | None) -> AllModelSettings:
        """Choose the model of those who name none; ``None`` takes the choice back."""
        return await self._set(SetModelSettings(default_model=model, clear_default=model is None))

    async def _set(self, command: SetModelSettings) -> AllModelSettings:
        since = self._models.moment
        stored = await self._asking.ask(asked.SET_MODEL_SETTINGS, command)
        self._models.put(None, stored, since)
        return stored

    async def _read_preferences(self, user_id: UserId) -> Preferences:
        query = PreferencesQuery(user_id=user_id)
        return (await self._asking.ask(asked.GET_PREFERENCES, query)).preferences

    async def _read_models(self, _key: None) -> AllModelSettings:
        return await self._asking.ask(asked.MODEL_SETTINGS, ModelSettingsQuery())
