"""Where presets and settings are kept.

Every method raises ``shared.errors.HistoryUnavailable`` when the database is away or slow, and
``services.history.ports.RefusedByStore`` when it will never take this document.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from services.history.preset_records import (
    ModelSettingsRecord,
    PreferencesRecord,
    PresetRecord,
)
from shared.contracts.ids import UserId


class PresetStore(Protocol):
    """Presets; one that a user may not see does not exist."""

    async def create(self, preset: PresetRecord) -> PresetRecord | None:
        """Store it unless it exists, and give what is there; ``None`` if the id is another's."""
        ...

    async def get(self, user_id: UserId, preset_id: str) -> PresetRecord | None:
        """The user's own preset, or a public one."""
        ...

    async def page(self, user_id: UserId, limit: int, after: str | None) -> list[PresetRecord]:
        """The first that the user sees whose ``order`` comes after ``after``, in that order."""
        ...

    async def replace(self, preset: PresetRecord, version: int) -> bool:
        """Put it in the place of this ``version`` of it; ``False`` if its owner has no such one."""
        ...

    async def delete(self, user_id: UserId, preset_id: str, version: int) -> bool:
        """Remove this version; ``False`` if the user owns no such one."""
        ...


class KnownSettings(NamedTuple):
    """All that is said of models."""

    models: list[ModelSettingsRecord]
    """By name."""
    default_model: str | None


class SettingsStore(Protocol):
    """Settings of models and preferences of users: the last word stands."""

    async def models(self) -> KnownSettings:
        """All of them."""
        ...

    async def put_model(self, settings: ModelSettingsRecord) -> None:
        """Replace what is said of one model."""
        ...

    async def put_default(self, model: str | None) -> None:
        """Replace the model of those who name none; ``None`` takes it away."""
        ...

    async def preferences(self, user_id: UserId) -> PreferencesRecord | None:
        """The user's, if there are any."""
        ...

    async def change_preferences(
        self, user_id: UserId, given: Mapping[str, object], cleared: Collection[str]
    ) -> PreferencesRecord:
        """Set these of the user's, take those away, both at once; gives all of them."""
        ...

    async def put_preferences(self, preferences: PreferencesRecord) -> None:
        """Replace the user's."""
        ...
