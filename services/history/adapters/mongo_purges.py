"""Marks of users whose data is being, or was, removed, on MongoDB."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from services.history.adapters.mongo_client import (
    PURGES,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId
from shared.contracts.user_purge import UserData

_UNDER_WAY: Final = {"user_id": {"$exists": True}}
_ABSENT: Final = {"$exists": False}
_SETS: Final = {"running": "running", "keys": "key_ids", "revoked": "revoked_ids"}
"""Stored as fields of a document: the embedded server knows no ``$addToSet`` of several."""
_FORGOTTEN: Final = dict.fromkeys(("user_id", "holder", "beat", *_SETS), "")
_ANEW: Final = dict.fromkeys(
    ("finished_at", "swept_at", "told_at", "found", "holder", "beat", *_SETS), ""
)


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
                {"$set": document, "$unset": _ANEW},
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

    async def hold(self, seen: PurgeMark, holder: str, beat: int) -> bool:
        """See the port."""
        this = {"_id": seen.id, "begun_at": seen.begun_at, **_UNDER_WAY}
        former = {
            "holder": seen.holder if seen.holder is not None else _ABSENT,
            "beat": seen.beat if seen.beat is not None else _ABSENT,
        }
        update = {"$set": {"holder": holder, "beat": beat}}
        with border():
            mine = await self._marks.update_one({**this, "holder": holder}, update)
            if mine.matched_count:
                return True
            taken = await self._marks.update_one({**this, **former}, update)
        return bool(taken.matched_count)

    async def tell(self, digest: str, at: int, before: int, settles_at: int) -> PurgeMark | None:
        """See the port."""
        times = {"told_at": at, "before": before, "settles_at": settles_at}
        with border():
            await self._marks.update_one(
                {"_id": digest, "told_at": _ABSENT, **_UNDER_WAY}, {"$set": times}
            )
        return await self.find(digest)

    async def keep_found(self, digest: str, found: UserData) -> None:
        """See the port."""
        with border():
            await self._marks.update_one(
                {"_id": digest, "found": _ABSENT, **_UNDER_WAY},
                {"$set": {"found": found.model_dump()}},
            )

    async def keep_keys(self, digest: str, keys: Collection[str], revoked: Collection[str]) -> None:
        """See the port."""
        await self._set(digest, {**_in("keys", keys), **_in("revoked", revoked)})

    async def swept(self, digest: str, at: int, running: Collection[CompletionId]) -> None:
        """See the port. Of two that sweep one after the other, what either knows is kept."""
        with border():
            await self._marks.update_one(
                {"_id": digest, **_UNDER_WAY},
                {
                    "$set": {"swept_at": at, **_in("running", running)},
                    "$unset": {"holder": "", "beat": ""},
                },
            )

    async def keep_running(self, digest: str, completion_id: CompletionId) -> None:
        """See the port."""
        await self._set(digest, _in("running", [completion_id]))

    async def finish(self, digest: str, holder: str, at: int) -> bool:
        """See the port."""
        with border():
            done = await self._marks.update_one(
                {"_id": digest, "holder": holder, **_UNDER_WAY},
                {"$set": {"finished_at": at}, "$unset": _FORGOTTEN},
            )
        return bool(done.matched_count)

    async def _set(self, digest: str, fields: Document) -> None:
        with border():
            await self._marks.update_one({"_id": digest, **_UNDER_WAY}, {"$set": fields})

    async def forget(self, finished_before: int) -> None:
        """See the port."""
        with border():
            await self._marks.delete_many({"finished_at": {"$lt": finished_before}})


def _in(name: str, ids: Collection[str]) -> Document:
    return {f"{name}.{each}": True for each in ids}


def _mark(document: Mapping[str, Any]) -> PurgeMark:
    fields = {field: sorted(document[name]) for name, field in _SETS.items() if document.get(name)}
    return PurgeMark.model_validate({**fields_of(document), "running": None, **fields})
