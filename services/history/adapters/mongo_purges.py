"""Marks of users whose data is being, or was, removed, on MongoDB."""

from collections.abc import Collection, Mapping
from typing import Any

from services.history.adapters.mongo_client import (
    PURGES,
    Database,
    border,
    document_of,
    fields_of,
)
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId

_UNDER_WAY = {"user_id": {"$exists": True}}


class MongoPurgeMarks:
    """``PurgeMarks`` on MongoDB. The collection is as small as its rows are rare."""

    def __init__(self, database: Database) -> None:
        self._marks = database[PURGES]

    async def begin(self, mark: PurgeMark) -> PurgeMark:
        """See the port. One that is finished gives way; of two that begin at once one stands."""
        document = document_of(mark)
        key = {"_id": document.pop("_id")}
        with border():
            await self._marks.update_one(
                {**key, "finished_at": {"$exists": True}},
                {"$set": document, "$unset": {"finished_at": "", "swept_at": "", "running": ""}},
            )
            await self._marks.update_one(key, {"$setOnInsert": document}, upsert=True)
            stored = await self._marks.find_one(key)
        return mark if stored is None else _mark(stored)

    async def find(self, digest: str) -> PurgeMark | None:
        """See the port."""
        with border():
            stored = await self._marks.find_one({"_id": digest})
        return None if stored is None else _mark(stored)

    async def under_way(self) -> list[PurgeMark]:
        """See the port."""
        with border():
            documents = await self._marks.find(_UNDER_WAY).to_list(None)
        return [_mark(document) for document in documents]

    async def swept(self, digest: str, at: int, running: Collection[CompletionId]) -> None:
        """See the port. Of two replicas that sweep at once, what either knows is kept.

        As fields: the embedded server knows no ``$addToSet`` of several.
        """
        added = {f"running.{completion_id}": True for completion_id in running}
        with border():
            await self._marks.update_one(
                {"_id": digest, **_UNDER_WAY}, {"$set": {"swept_at": at, **added}}
            )

    async def finish(self, digest: str, at: int) -> None:
        """See the port."""
        gone = dict.fromkeys(("user_id", "running"), "")
        with border():
            await self._marks.update_one(
                {"_id": digest, **_UNDER_WAY}, {"$set": {"finished_at": at}, "$unset": gone}
            )

    async def forget(self, finished_before: int) -> None:
        """See the port."""
        with border():
            await self._marks.delete_many({"finished_at": {"$lt": finished_before}})


def _mark(document: Mapping[str, Any]) -> PurgeMark:
    running = document.get("running")
    fields = fields_of(document)
    return PurgeMark.model_validate({**fields, "running": sorted(running) if running else None})
