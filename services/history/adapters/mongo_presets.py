"""Presets on MongoDB."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from services.history.adapters.mongo_client import (
    PRESETS,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.preset_records import PresetRecord
from shared.contracts.ids import UserId


class MongoPresetStore:
    """``PresetStore`` on MongoDB; ``order`` is stored with each preset, for sorting."""

    def __init__(self, database: Database) -> None:
        self._presets = database[PRESETS]

    async def create(self, preset: PresetRecord) -> PresetRecord | None:
        """See the port."""
        document = _document(preset)
        key = {"_id": document.pop("_id")}
        with border():
            await self._presets.update_one(key, {"$setOnInsert": document}, upsert=True)
            stored = await self._presets.find_one({**key, "user_id": preset.user_id})
        return None if stored is None else _preset(stored)

    async def get(self, user_id: UserId, preset_id: str) -> PresetRecord | None:
        """See the port."""
        with border():
            stored = await self._presets.find_one({"_id": preset_id})
        preset = None if stored is None else _preset(stored)
        return preset if preset and (preset.public or preset.user_id == user_id) else None

    async def page(self, user_id: UserId, limit: int, after: str | None) -> list[PresetRecord]:
        """See the port. Two reads, each with an index of its own: an ``$or`` would use none."""
        beyond: Document = {} if after is None else {"order": {"$gt": after}}
        seen: dict[str, PresetRecord] = {}
        for whose in ({"user_id": user_id}, {"public": True}):
            with border():
                cursor = self._presets.find({**whose, **beyond}).sort("order", 1).limit(limit)
                documents = await cursor.to_list(limit)
            seen |= {document["_id"]: _preset(document) for document in documents}
        return sorted(seen.values(), key=attrgetter("order"))[:limit]

    async def replace(self, preset: PresetRecord, version: int) -> bool:
        """See the port."""
        with border():
            result = await self._presets.replace_one(
                _version(preset.user_id, preset.id, version), _document(preset)
            )
        return result.matched_count == 1

    async def delete(self, user_id: UserId, preset_id: str, version: int) -> bool:
        """See the port."""
        with border():
            result = await self._presets.delete_one(_version(user_id, preset_id, version))
        return result.deleted_count == 1


def _version(user_id: UserId, preset_id: str, version: int) -> Document:
    return {"_id": preset_id, "user_id": user_id, "version": version}


def _document(preset: PresetRecord) -> Document:
    return {**document_of(preset), "order": preset.order}


def _preset(document: Mapping[str, Any]) -> PresetRecord:
    return PresetRecord.model_validate(fields_of(document))
