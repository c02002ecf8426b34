"""The words that sessions are found by, on MongoDB: one document per user, word and session.

``k`` is ``<user>|<word>``; a word holds no bar, so that the two are told apart. Which words are
said in messages is marked, and the mark is only ever set: writes commute. A word without the mark
stands in a title, perhaps one of yesterday: who searches compares it with the title of today.

Whole documents are read: they are four short fields, and choosing among them costs the embedded
server more than it saves.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pymongo import UpdateOne
from pymongo.write_concern import WriteConcern

from services.history.adapters.mongo_client import TERMS, Database, Document, border
from services.history.message_ports import Having
from shared.contracts.ids import SessionId, UserId

_AFTER_ALL: Final = "\U0010ffff"
"""Sorts behind every letter."""
_BATCH: Final = 100
"""Terms in one write: a larger one would hold up other users of the embedded server."""


class MongoTerms:
    """Both sides of the words: the recorder's and the searcher's."""

    def __init__(self, database: Database) -> None:
        self._terms = database[TERMS]
        # Not waiting for the journal: the mark of the completion, which comes later and waits for
        # it, is written behind these in the same journal.
        self._written = self._terms.with_options(write_concern=WriteConcern(w="majority", j=False))

    async def add(
        self, user_id: UserId, session_id: SessionId, terms: Collection[str], *, said: bool
    ) -> None:
        """See ``TurnStore.add_terms``."""
        ids = [_id(user_id, term, session_id) for term in terms]
        for at in range(0, len(ids), _BATCH):
            batch = ids[at : at + _BATCH]
            query: Document = {"_id": {"$in": batch}}
            with border():
                known = await self._terms.find(query, {"said": 1}).to_list(None)
                # Most words of a conversation have been said before.
                there = {it["_id"] for it in known if "said" in it or not said}
                writes = [
                    UpdateOne({"_id": key}, _update(key, session_id, said=said), upsert=True)
                    for key in batch
                    if key not in there
                ]
                if writes:
                    await self._written.bulk_write(writes, ordered=False)

    async def forget(self, user_id: UserId, session_id: SessionId) -> None:
        """See ``TurnStore``."""
        with border():
            documents = await self._terms.find({"session_id": session_id}, {"k": 1}).to_list(None)
            # The same session id may be another user's.
            own = [it["_id"] for it in documents if it["k"].startswith(f"{user_id}|")]
            for at in range(0, len(own), _BATCH):
                await self._terms.delete_many({"_id": {"$in": own[at : at + _BATCH]}})

    async def at_least(self, user_id: UserId, term: str, count: int, *, begun: bool) -> bool:
        """See ``TermStore``. Steps over the index: ``count`` would read documents."""
        query = _from(user_id, term) if begun else {"k": f"{user_id}|{term}"}
        with border():
            # Not ``find_one``: it tells the embedded server to take the first.
            last = self._terms.find(query).skip(count - 1).limit(1)
            return bool(await last.to_list(1))

    async def sessions_with(self, user_id: UserId, term: str, limit: int) -> dict[SessionId, bool]:
        """See ``TermStore``."""
        query = {"k": f"{user_id}|{term}"}
        with border():
            documents = await self._terms.find(query).limit(limit).to_list(limit)
        return {SessionId(it["session_id"]): "said" in it for it in documents}

    async def beginning(
        self, user_id: UserId, start: str, limit: int, after: str | None = None
    ) -> list[Having]:
        """See ``TermStore``. One text with one index: both servers use it for the range."""
        own = f"{user_id}|"
        query = _from(user_id, start, after)
        with border():
            documents = await self._terms.find(query).sort("k", 1).limit(limit).to_list(limit)
        return [
            Having(it["k"].removeprefix(own), SessionId(it["session_id"]), "said" in it)
            for it in documents
        ]

    async def among(
        self, user_id: UserId, terms: Iterable[str], sessions: Sequence[SessionId]
    ) -> dict[tuple[str, SessionId], bool]:
        """See ``TermStore``."""
        keys = {
            _id(user_id, term, session_id): (term, session_id)
            for term in terms
            for session_id in sessions
        }
        if not keys:
            return {}
        query: Document = {"_id": {"$in": list(keys)}}
        with border():
            documents = await self._terms.find(query).to_list(None)
        return {keys[it["_id"]]: "said" in it for it in documents}


def _id(user_id: UserId, term: str, session_id: SessionId) -> str:
    return f"{user_id}|{term}|{session_id}"


def _from(user_id: UserId, start: str, after: str | None = None) -> Document:
    own = f"{user_id}|"
    begin = {"$gte": own + start} if after is None else {"$gt": own + after}
    return {"k": {**begin, "$lt": own + start + _AFTER_ALL}}


def _update(key: str, session_id: SessionId, *, said: bool) -> Document:
    inserted = {"k": key.rpartition("|")[0], "session_id": session_id}
    return {"$setOnInsert": inserted, **({"$set": {"said": True}} if said else {})}
