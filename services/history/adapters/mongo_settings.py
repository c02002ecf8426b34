"""Settings of models and preferences of users on MongoDB."""

from collections.abc import Collection, Mapping
from typing import Final

from services.history.adapters.mongo_client import (
    MODEL_SETTINGS,
    PREFERENCES,
    Database,
    border,
    document_of,
    fields_of,
)
from services.history.preset_ports import KnownSettings
from services.history.preset_records import ModelSettingsRecord, PreferencesRecord
from shared.contracts.ids import UserId

_DEFAULT: Final = "default"
"""No model's: full names have a tag."""


class MongoSettingsStore:
    """``SettingsStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._models = database[MODEL_SETTINGS]
        self._preferences = database[PREFERENCES]

    async def models(self) -> KnownSettings:
        """See the port."""
        with border():
            documents = await self._models.find({}).to_list(None)
        by_id = {document["_id"]: document for document in documents}
        default = by_id.pop(_DEFAULT, {}).get("model")
        return KnownSettings(
            [ModelSettingsRecord.model_validate(fields_of(by_id[name])) for name in sorted(by_id)],
            default,
        )

    async def put_model(self, settings: ModelSettingsRecord) -> None:
        """See the port."""
        with border():
            await self._models.replace_one({"_id": settings.id}, document_of(settings), upsert=True)

    async def put_default(self, model: str | None) -> None:
        """See the port."""
        key = {"_id": _DEFAULT}
        with border():
            if model is None:
                await self._models.delete_one(key)
            else:
                await self._models.replace_one(key, {**key, "model": model}, upsert=True)

    async def preferences(self, user_id: UserId) -> PreferencesRecord | None:
        """See the port."""
        with border():
            document = await self._preferences.find_one({"_id": user_id})
        return PreferencesRecord.model_validate(fields_of(document)) if document else None

    async def change_preferences(
        self, user_id: UserId, given: Mapping[str, object], cleared: Collection[str]
    ) -> PreferencesRecord:
        """See the port."""
        key = {"_id": user_id}
        # Neither operator may be empty.
        change = {"$set": dict(given), "$unset": dict.fromkeys(cleared, "")}
        change = {operator: fields for operator, fields in change.items() if fields}
        with border():
            if change:
                await self._preferences.update_one(key, change, upsert=True)
            document = await self._preferences.find_one(key)
        return PreferencesRecord.model_validate(fields_of(document or key))

    async def put_preferences(self, preferences: PreferencesRecord) -> None:
        """See the port."""
        document = document_of(preferences)
        with border():
            await self._preferences.replace_one({"_id": preferences.id}, document, upsert=True)
