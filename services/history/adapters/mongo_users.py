"""Everything of one user on MongoDB, in many short calls.

The embedded server does one thing at a time, and a long call would hold up everybody else. So what
is counted or removed is found by an index, and at most some hundred documents at a time. It counts
by reading all documents; that there is one more costs it next to nothing.

``messages`` have no index on their user: the embedded server would take it for queries that are
better off with that on their place. They are found by their sessions. Those whose session is gone
(of a process that was cut off) are found by a walk through all sessions' messages, in short steps.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
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
_PAGE: Final = 500
_STRIDE: Final = 1000
_AFTER_ALL: Final = "\U0010ffff"
_BY_USER: Final = (USAGE, PRESETS, COMPLETIONS)
_OPEN: Final = "1_open"
_ABSENT: Final = {"$exists": False}


class MongoUserStore:
    """``UserStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, user_id: UserId) -> UserData:
        """See the port. Messages are those of the user's sessions."""
        of_user = {"user_id": user_id}
        with border():
            counts = {name: await self._count(name, of_user) for name in _BY_USER}
            sessions = await self._ids(SESSIONS, of_user)
            messages = 0
            for session_id in sessions:
                messages += await self._count(MESSAGES, {"session_id": session_id})
            preferences = await self._database[PREFERENCES].find_one({"_id": user_id}, {"_id": 1})
            terms = 0
            async for batch in self._terms(user_id):
                terms += len(batch)
        return UserData(
            sessions=len(sessions),
            messages=messages,
            search_terms=terms,
            usage=counts[USAGE],
            presets=counts[PRESETS],
            preferences=int(preferences is not None),
            completions=counts[COMPLETIONS],
        )

    async def completions(self, user_id: UserId, since: int) -> Sequence[CompletionId]:
        """See the port."""
        found: dict[CompletionId, None] = {}
        with border():
            # Of either event one time may be missing.
            for time in ("ended_at", "accepted_at"):
                query = {"user_id": user_id, time: {"$gte": since}}
                found.update(dict.fromkeys(await self._ids(COMPLETIONS, query)))
        return list(found)

    async def open_completions(self, user_id: UserId) -> Sequence[CompletionId]:
        """See the port."""
        query = {"user_id": user_id, "state": _OPEN}
        with border():
            return [CompletionId(it) for it in await self._ids(COMPLETIONS, query)]

    async def hide(self, user_id: UserId) -> None:
        """See the port. As a purge of deleted sessions claims them, which goes on with them too."""
        seen = {"user_id": user_id, "purging": _ABSENT}
        with border():
            while ids := await self._some(SESSIONS, seen):
                await self._database[SESSIONS].update_many(
                    {"_id": {"$in": ids}, "user_id": {"$eq": user_id}},
                    {"$set": {"purging": True, "deleted_at": 0}},
                )

    async def remove(self, user_id: UserId) -> AsyncGenerator[None]:
        """See the port."""
        parts = (
            self._remove_sessions,
            self._remove_words,
            self._remove_own,
            self._remove_strays,
        )
        with border():
            for part in parts:
                async with aclosing(part(user_id)) as batches:
                    async for _ in batches:
                        yield
            await self._database[PREFERENCES].delete_one({"_id": user_id})

    async def _remove_sessions(self, user_id: UserId) -> AsyncGenerator[None]:
        while ids := await self._some(SESSIONS, {"user_id": user_id}):
            for session_id in ids:
                for name in (MESSAGES, TERMS):
                    while await self._remove_some(name, {"session_id": session_id}):
                        yield
                await self._database[SESSIONS].delete_one({"_id": session_id, "user_id": user_id})
                yield

    async def _remove_words(self, user_id: UserId) -> AsyncGenerator[None]:
        async for batch in self._terms(user_id):
            await self._delete(TERMS, batch)
            yield

    async def _remove_own(self, user_id: UserId) -> AsyncGenerator[None]:
        for name in _BY_USER:
            while await self._remove_some(name, {"user_id": user_id}):
                yield

    async def _remove_strays(self, user_id: UserId) -> AsyncGenerator[None]:
        async for between in self._strides():
            strays = {"session_id": between, "user_id": {"$eq": user_id}}
            while await self._remove_some(MESSAGES, strays):
                yield
            yield

    async def _count(self, name: str, query: Document) -> int:
        """By asking whether there are more than so many: twice as many each time, then between."""
        least, most = 0, 1
        while await self._more_than(name, query, most - 1):
            least, most = most, 2 * most
        while least + 1 < most:
            middle = (least + most) // 2
            if await self._more_than(name, query, middle - 1):
                least = middle
            else:
                most = middle
        return least

    async def _more_than(self, name: str, query: Document, count: int) -> bool:
        # Not ``find_one``: it tells the embedded server to take the first.
        one = self._database[name].find(query, {"_id": 1}).skip(count).limit(1)
        return bool(await one.to_list(1))

    async def _ids(self, name: str, query: Document) -> list[Any]:
        """All of them. In pages: the embedded server reads at once what a cursor is to give."""
        found: list[Any] = []
        while True:
            page = self._database[name].find(query, {"_id": 1}).skip(len(found)).limit(_PAGE)
            ids = [it["_id"] for it in await page.to_list(_PAGE)]
            found += ids
            if len(ids) < _PAGE:
                return found

    async def _some(self, name: str, query: Document) -> list[Any]:
        cursor = self._database[name].find(query, {"_id": 1}).limit(_BATCH)
        return [it["_id"] for it in await cursor.to_list(_BATCH)]

    async def _remove_some(self, name: str, query: Document) -> bool:
        ids = await self._some(name, query)
        await self._delete(name, ids)
        return len(ids) == _BATCH

    async def _delete(self, name: str, ids: Sequence[Any]) -> None:
        if ids:
            await self._database[name].delete_many({"_id": {"$in": list(ids)}})

    async def _strides(self) -> AsyncGenerator[Mapping[str, str]]:
        """Ranges of session ids that hold all messages, some thousand in each."""
        messages = self._database[MESSAGES]
        first: Document = {"$gte": ""}
        while True:
            ahead = messages.find({"session_id": first}, {"session_id": 1}).sort("session_id", 1)
            last = await ahead.skip(_STRIDE - 1).limit(1).to_list(1)
            if not last:
                yield first
                return
            end = last[0]["session_id"]
            yield {**first, "$lte": end}
            first = {"$gt": end}

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
            own_ids = [it["_id"] for it in found if it["k"] != last and _is_of(user_id, it["k"])]
            if _is_of(user_id, last):
                own_ids += await self._ids(TERMS, {"k": last})
            for at in range(0, len(own_ids), _BATCH):
                yield own_ids[at : at + _BATCH]
            bound = {"$gt": last}


def _is_of(user_id: UserId, key: str) -> bool:
    return key.rpartition("|")[0] == user_id
