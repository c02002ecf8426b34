"""API keys on MongoDB."""

from services.history.adapters.mongo_client import (
    API_KEYS,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.key_records import KeyRecord
from shared.contracts.ids import UserId


class MongoKeyStore:
    """``KeyStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._keys = database[API_KEYS]

    async def create(self, key: KeyRecord) -> KeyRecord:
        """See the port."""
        document = document_of(key)
        by_id = {"_id": document.pop("_id")}
        with border():
            await self._keys.update_one(by_id, {"$setOnInsert": document}, upsert=True)
            stored = await self._keys.find_one(by_id)
        return key if stored is None else KeyRecord.model_validate(fields_of(stored))

    async def page(self, user_id: UserId | None, limit: int, after: str | None) -> list[KeyRecord]:
        """See the port."""
        wanted: Document = {} if user_id is None else {"user_id": user_id}
        if after is not None:
            wanted["_id"] = {"$gt": after}
        with border():
            documents = await self._keys.find(wanted).sort("_id", 1).limit(limit).to_list(limit)
        return [KeyRecord.model_validate(fields_of(document)) for document in documents]

    async def revoke(self, key_id: str, at: int) -> KeyRecord | None:
        """See the port."""
        with border():
            await self._keys.update_one(
                {"_id": key_id, "revoked_at": {"$exists": False}}, {"$set": {"revoked_at": at}}
            )
            stored = await self._keys.find_one({"_id": key_id})
        return None if stored is None else KeyRecord.model_validate(fields_of(stored))

    async def remove(self, key_id: str) -> None:
        """See the port."""
        with border():
            await self._keys.delete_one({"_id": key_id, "revoked_at": {"$exists": True}})
