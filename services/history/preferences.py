"""Settings of models, the default model, and what each user prefers: read and replaced."""

from services.history.news import News
from services.history.preset_ports import SettingsStore
from services.history.preset_records import ModelSettingsRecord, PreferencesRecord
from services.history.records import SETTINGS
from shared.contracts.presets import (
    AllModelSettings,
    ChangePreferences,
    ModelSettingsQuery,
    Preferences,
    PreferencesQuery,
    PreferencesReply,
    SetModelSettings,
    SetPreferences,
)
from shared.contracts.subjects import full_model_name


class KeptSettings:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: SettingsStore, news: News) -> None:
        self._store = store
        self._news = news

    async def models(self, _query: ModelSettingsQuery) -> AllModelSettings:
        """What is said of models, by their full names."""
        known = await self._store.models()
        return AllModelSettings(
            models=[record.to_settings() for record in known.models],
            default_model=known.default_model,
        )

    async def set_model(self, command: SetModelSettings) -> AllModelSettings:
        """Replace what the command names; gives all of it."""
        if command.settings is not None:
            fields = command.settings.model_dump(exclude={"model"})
            name = full_model_name(command.settings.model)
            await self._store.put_model(ModelSettingsRecord(id=name, **fields))
        if command.default_model is not None:
            await self._store.put_default(full_model_name(command.default_model))
        elif command.clear_default:
            await self._store.put_default(None)
        await self._news.settings_changed(None)
        return await self.models(ModelSettingsQuery())

    async def preferences(self, query: PreferencesQuery) -> PreferencesReply:
        """The user's; empty for one who never set any."""
        record = await self._store.preferences(query.user_id)
        fields = record.model_dump(exclude={"id"}) if record is not None else {}
        return PreferencesReply(preferences=Preferences(**fields))

    async def change_preferences(self, command: ChangePreferences) -> PreferencesReply:
        """Change some of the user's; what is set and cleared at once is set."""
        given = command.settings.model_dump(exclude_none=True)
        cleared = set(SETTINGS).intersection(command.cleared).difference(given)
        record = await self._store.change_preferences(command.user_id, given, cleared)
        await self._news.settings_changed(command.user_id)
        return PreferencesReply(preferences=Preferences(**record.model_dump(exclude={"id"})))

    async def set_preferences(self, command: SetPreferences) -> PreferencesReply:
        """Replace the user's."""
        fields = command.preferences.model_dump()
        await self._store.put_preferences(PreferencesRecord(id=command.user_id, **fields))
        await self._news.settings_changed(command.user_id)
        return PreferencesReply(preferences=command.preferences)
