"""Everything of one user on MongoDB.

In batches of ids: a larger write would hold up other users of the embedded server, which takes one
at a time. Where no index names the user a batch is looked for in the whole collection; a purge is
rare, and an index on ``messages.user_id`` would be taken by queries that are better off without.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    PREFERENCES,
    PRESETS,
    SESSIONS,
    TERMS,
    USAGE,
    Database,
    Document,
    border,
)
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import UserData

_BATCH: Final = 100
_AFTER_ALL: Final = "\U0010ffff"
_BY_USER: Final = (USAGE, PRESETS, MESSAGES, COMPLETIONS)
_OPEN: Final = "1_open"


class MongoUserStore:
    """``UserStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, user_id: UserId) -> UserData:
        """See the port."""
        with border():
            counts = {
                name: await self._database[name].count_documents({"user_id": user_id})
                for name in (SESSIONS, *_BY_USER)
            }
            preferences = await self._database[PREFERENCES].find_one({"_id": user_id}, {"_id": 1})
            terms = 0
            async for batch in self._terms(user_id):
                terms += len(batch)
        return UserData(
            sessions=counts[SESSIONS],
            messages=counts[MESSAGES],
            search_terms=terms,
            usage=counts[USAGE],
            presets=counts[PRESETS],
            preferences=int(preferences is not None),
            completions=counts[COMPLETIONS],
        )

    async def completions(self, user_id: UserId, since: int) -> Sequence[CompletionId]:
        """See the port. Not compared in the query: of either event one time may be missing."""
        fields = {"accepted_at": 1, "ended_at": 1}
        with border():
            cursor = self._database[COMPLETIONS].find({"user_id": user_id}, fields)
            documents = await cursor.to_list(None)
        return [
            CompletionId(it["_id"])
            for it in documents
            if max(it.get("accepted_at", 0), it.get("ended_at", 0)) >= since
        ]

    async def open_completions(self, user_id: UserId) -> Sequence[CompletionId]:
        """See the port."""
        query = {"user_id": user_id, "state": _OPEN}
        with border():
            documents = await self._database[COMPLETIONS].find(query, {"_id": 1}).to_list(None)
        return [CompletionId(it["_id"]) for it in documents]

    async def hide(self, user_id: UserId) -> None:
        """See the port. As a purge of deleted sessions claims them, which goes on with them too."""
        with border():
            await self._database[SESSIONS].update_many(
                {"user_id": user_id}, {"$set": {"purging": True, "deleted_at": 0}}
            )

    async def remove(self, user_id: UserId) -> bool:
        """See the port. Sessions last: the words and messages of others cost more to find."""
        with border():
            if await self._remove_sessions(user_id):
                return True
            async for batch in self._terms(user_id):
                await self._delete(TERMS, batch)
            for name in _BY_USER:
                if await self._remove_batch(name, {"user_id": {"$eq": user_id}}):
                    return True
            await self._database[PREFERENCES].delete_one({"_id": user_id})
        return False

    async def _remove_sessions(self, user_id: UserId) -> bool:
        sessions = self._database[SESSIONS]
        found = await sessions.find({"user_id": user_id}, {"_id": 1}).limit(_BATCH).to_list(_BATCH)
        for document in found:
            session_id = document["_id"]
            for name in (MESSAGES, TERMS):
                await self._database[name].delete_many({"session_id": session_id})
            await sessions.delete_one({"_id": session_id, "user_id": user_id})
        return bool(found)

    async def _remove_batch(self, name: str, query: Document) -> bool:
        cursor = self._database[name].find(query, {"_id": 1}).limit(_BATCH)
        ids = [it["_id"] for it in await cursor.to_list(_BATCH)]
        await self._delete(name, ids)
        return bool(ids)

    async def _delete(self, name: str, ids: Sequence[Any]) -> None:
        if ids:
            await self._database[name].delete_many({"_id": {"$in": list(ids)}})

    async def _terms(self, user_id: UserId) -> AsyncGenerator[list[str]]:
        """Ids of the user's words, in batches, by the range of ``k`` that they are in.

        ``k`` is ``<user>|<word>``. Another user's name may begin with this one and a bar; no word
        holds one, so what stands before the last bar tells whose it is.
        """
        terms, own = self._database[TERMS], f"{user_id}|"
        bound: Document = {"$gte": own}
        while True:
            query = {"k": {**bound, "$lt": own + _AFTER_ALL}}
            cursor = terms.find(query, {"k": 1}).sort("k", 1).limit(_BATCH)
            found = await cursor.to_list(_BATCH)
            if not found:
                return
            last = found[-1]["k"]
            # A word may stand in more sessions than are left of the batch.
            found = [it for it in found if it["k"] != last]
            found += await terms.find({"k": last}, {"k": 1}).to_list(None)
            yield [it["_id"] for it in found if it["k"].rpartition("|")[0] == user_id]
            bound = {"$gt": last}
