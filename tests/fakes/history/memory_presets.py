"""``PresetStore`` and ``SettingsStore`` in memory, with the same rules as MongoDB's."""

from collections.abc import Collection, Mapping

from services.history.preset_ports import KnownSettings
from services.history.preset_records import (
    ModelSettingsRecord,
    PreferencesRecord,
    PresetRecord,
)
from shared.contracts.ids import UserId
from shared.errors import HistoryUnavailable


class MemoryPresetStore:
    """A dictionary; ``available = False`` is a database that is away."""

    def __init__(self) -> None:
        self.presets: dict[str, PresetRecord] = {}
        self.available = True

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("away")

    async def create(self, preset: PresetRecord) -> PresetRecord | None:
        self._check()
        stored = self.presets.setdefault(preset.id, preset)
        return stored if stored.user_id == preset.user_id else None

    async def get(self, user_id: UserId, preset_id: str) -> PresetRecord | None:
        self._check()
        preset = self.presets.get(preset_id)
        return preset if preset and (preset.public or preset.user_id == user_id) else None

    async def page(self, user_id: UserId, limit: int, after: str | None) -> list[PresetRecord]:
        self._check()
        seen = [
            preset
            for preset in self.presets.values()
            if (preset.public or preset.user_id == user_id)
            and (after is None or preset.order > after)
        ]
        return sorted(seen, key=lambda it: it.order)[:limit]

    async def replace(self, preset: PresetRecord, version: int) -> bool:
        if not self._is_there(preset.user_id, preset.id, version):
            return False
        self.presets[preset.id] = preset
        return True

    async def delete(self, user_id: UserId, preset_id: str, version: int) -> bool:
        if not self._is_there(user_id, preset_id, version):
            return False
        del self.presets[preset_id]
        return True

    def _is_there(self, user_id: UserId, preset_id: str, version: int) -> bool:
        self._check()
        stored = self.presets.get(preset_id)
        return stored is not None and (stored.user_id, stored.version) == (user_id, version)


class MemorySettingsStore:
    """Three dictionaries in effect."""

    def __init__(self) -> None:
        self.by_model: dict[str, ModelSettingsRecord] = {}
        self.default: str | None = None
        self.by_user: dict[UserId, PreferencesRecord] = {}

    async def models(self) -> KnownSettings:
        return KnownSettings([self.by_model[name] for name in sorted(self.by_model)], self.default)

    async def put_model(self, settings: ModelSettingsRecord) -> None:
        self.by_model[settings.id] = settings

    async def put_default(self, model: str | None) -> None:
        self.default = model

    async def preferences(self, user_id: UserId) -> PreferencesRecord | None:
        return self.by_user.get(user_id)

    async def change_preferences(
        self, user_id: UserId, given: Mapping[str, object], cleared: Collection[str]
    ) -> PreferencesRecord:
        before = self.by_user.get(user_id, PreferencesRecord(id=user_id))
        changed = before.model_copy(update={**dict.fromkeys(cleared), **given})
        self.by_user[user_id] = changed
        return changed

    async def put_preferences(self, preferences: PreferencesRecord) -> None:
        self.by_user[preferences.id] = preferences
