"""What users and this installation have chosen for where a request says nothing."""

from typing import Final

from services.api.background import Background
from services.api.ports.broker import Clock
from services.api.ports.sessions import Asking
from services.api.sessions.remembered import Remembered
from shared.contracts import presets as asked
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId
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
"""Seconds: a change at another gateway is seen here after so long, one at this gateway at once."""


class Choices:
    """Reads are remembered for ``_FRESH`` seconds: a turn costs no two questions more.

    Raises (every call):
        HistoryUnavailable: nobody answers, or its database is away.
    """

    def __init__(self, asking: Asking, background: Background, clock: Clock) -> None:
        self._asking = asking
        self._preferences = Remembered(self._read_preferences, background, clock, seconds=_FRESH)
        self._models = Remembered(self._read_models, background, clock, seconds=_FRESH)

    async def preferences(self, user_id: UserId) -> Preferences:
        """What the user prefers."""
        return await self._preferences.get(user_id)

    async def set_preferences(self, user_id: UserId, preferences: Preferences) -> Preferences:
        """Replace them."""
        command = SetPreferences(user_id=user_id, preferences=preferences)
        stored = (await self._asking.ask(asked.SET_PREFERENCES, command)).preferences
        self._preferences.put(user_id, stored)
        return stored

    async def change_preferences(
        self, user_id: UserId, settings: SessionSettings, cleared: list[str]
    ) -> Preferences:
        """Set these, take those away, and leave the others."""
        command = ChangePreferences(user_id=user_id, settings=settings, cleared=cleared)
        stored = (await self._asking.ask(asked.CHANGE_PREFERENCES, command)).preferences
        self._preferences.put(user_id, stored)
        return stored

    async def models(self) -> AllModelSettings:
        """What is said of models, by their full names, and the default of all users."""
        return await self._models.get(None)

    async def set_model(self, settings: ModelSettings) -> AllModelSettings:
        """Replace what is said of one model."""
        return await self._set(SetModelSettings(settings=settings))

    async def set_default(self, model: str | None) -> AllModelSettings:
        """Choose the model of those who name none; ``None`` takes the choice back."""
        return await self._set(SetModelSettings(default_model=model, clear_default=model is None))

    async def _set(self, command: SetModelSettings) -> AllModelSettings:
        stored = await self._asking.ask(asked.SET_MODEL_SETTINGS, command)
        self._models.put(None, stored)
        return stored

    async def _read_preferences(self, user_id: UserId) -> Preferences:
        query = PreferencesQuery(user_id=user_id)
        return (await self._asking.ask(asked.GET_PREFERENCES, query)).preferences

    async def _read_models(self, _key: None) -> AllModelSettings:
        return await self._asking.ask(asked.MODEL_SETTINGS, ModelSettingsQuery())
