"""The recorder's writes on MongoDB: upserts by deterministic ids that commute.

Only what the embedded server (nx-27017) does right is used: ``$setOnInsert``, ``$set``,
``$unset``, ``$max`` and ``$min`` on numbers and strings. It compares dates wrongly and ``$max``
does not raise them, so there are none.
"""

from collections.abc import Collection, Sequence
from typing import Final

from pymongo import UpdateOne

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    SESSIONS,
    USAGE,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.adapters.mongo_messages import MongoMessageStore, stored_message
from services.history.adapters.mongo_purges import MongoPurgeMarks
from services.history.adapters.mongo_terms import MongoTerms
from services.history.records import (
    Advance,
    Known,
    MessageRecord,
    OpenCompletion,
    UsageRecord,
)
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.user_purge import user_digest

# ``$max`` moves a completion forward only: the texts sort.
_OPEN: Final = "1_open"
_ENDED: Final = "2_ended"
_RUNNING: Final = "running_titles"
_STUB: Final = frozenset({"id", "session_id", "user_id", "completion_id"})
_GONE: Final = dict.fromkeys({*MessageRecord.model_fields, "place", "order"} - _STUB, "")


class MongoTurnStore:
    """``TurnStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._visible = MongoMessageStore(database)
        self._terms = MongoTerms(database)
        self._purges = MongoPurgeMarks(database)
        self._sessions = database[SESSIONS]
        self._messages = database[MESSAGES]
        self._usage = database[USAGE]
        self._completions = database[COMPLETIONS]

    async def owns(self, user_id: UserId, session_id: SessionId) -> bool:
        """See the port."""
        with border():
            session = await self._sessions.find_one(
                {"_id": session_id, "user_id": user_id, "purging": {"$exists": False}}, {"_id": 1}
            )
        return session is not None

    async def purge_of(self, user_id: UserId) -> PurgeMark | None:
        """See the port."""
        return await self._purges.find(user_digest(user_id))

    async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
        """See the port."""
        writes = []
        for message in messages:
            document = stored_message(message)
            key = {"_id": document.pop("_id")}
            writes.append(UpdateOne(key, {"$setOnInsert": document}, upsert=True))
        if writes:
            with border():
                await self._messages.bulk_write(writes, ordered=False)

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        """See the port."""
        return await self._visible.messages(user_id, session_id, ids)

    async def add_terms(
        self, user_id: UserId, session_id: SessionId, terms: Collection[str], *, said: bool
    ) -> None:
        """See the port."""
        await self._terms.add(user_id, session_id, terms, said=said)

    async def hide_messages(
        self,
        user_id: UserId,
        session_id: SessionId,
        completion_id: CompletionId,
        ids: Sequence[MessageId],
    ) -> None:
        """See the port. What is left is a stub, the same whichever event came first.

        Not ``replace_one``: the embedded server loses the id of one that it inserts.
        """
        stub = {
            "session_id": session_id,
            "user_id": user_id,
            "completion_id": completion_id,
            "rejected": True,
        }
        update = {"$set": stub, "$unset": _GONE}
        with border():
            await self._messages.bulk_write(
                [UpdateOne({"_id": message_id}, update, upsert=True) for message_id in ids],
                ordered=False,
            )

    async def add_usage(self, usage: UsageRecord) -> None:
        """See the port."""
        document = document_of(usage)
        key = {"_id": document.pop("_id")}
        with border():
            await self._usage.update_one(key, {"$setOnInsert": document}, upsert=True)

    async def advance(self, user_id: UserId, session_id: SessionId, advance: Advance) -> None:
        """See the port."""
        raised: Document = {"turn": advance.turn}
        if advance.message_count is not None:
            raised["message_count"] = advance.message_count
        if advance.leaf is not None:
            raised["leaf"] = advance.leaf
        if advance.updated_at is not None:
            raised["updated_at"] = advance.updated_at
            raised["recency"] = recency(advance.updated_at, session_id)
        update: Document = {"$max": raised}
        if advance.running is not None:
            completion_id, title = advance.running
            update["$set"] = {f"{_RUNNING}.{completion_id}": f"{advance.turn:010d}|{title}"}
        with border():
            await self._sessions.update_one({"_id": session_id, "user_id": user_id}, update)

    async def running_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId
    ) -> str | None:
        """See the port."""
        kept = await self._running(user_id, session_id, completion_id)
        return kept.partition("|")[2] if kept is not None else None

    async def settle_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId, *, keep: bool
    ) -> None:
        """See the port. Who settles it at the same time has read the same."""
        running = await self._running(user_id, session_id, completion_id)
        if running is None:
            return
        update: Document = {"$unset": {f"{_RUNNING}.{completion_id}": ""}}
        if keep:
            update["$min"] = {"auto_title": running}
        with border():
            await self._sessions.update_one({"_id": session_id, "user_id": user_id}, update)

    async def _running(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId
    ) -> str | None:
        with border():
            session = await self._sessions.find_one(
                {"_id": session_id, "user_id": user_id}, {_RUNNING: 1}
            )
        running: str | None = ((session or {}).get(_RUNNING) or {}).get(completion_id)
        return running

    async def forget(self, user_id: UserId, session_id: SessionId) -> None:
        """See the port."""
        with border():
            await self._messages.delete_many(
                {"session_id": session_id, "user_id": {"$eq": user_id}}
            )
        await self._terms.forget(user_id, session_id)

    async def open_completion(self, completion: OpenCompletion) -> None:
        """See the port."""
        document = document_of(completion)
        key = {"_id": document.pop("_id")}
        with border():
            await self._completions.update_one(
                key, {"$set": document, "$max": {"state": _OPEN}}, upsert=True
            )

    async def end_completion(
        self,
        completion_id: CompletionId,
        user_id: UserId,
        ended_at: int,
        *,
        rejected: bool = False,
    ) -> None:
        """See the port."""
        update = {
            "$set": {"user_id": user_id, **({"rejected": True} if rejected else {})},
            "$max": {"state": _ENDED},
            "$min": {"ended_at": ended_at},
        }
        with border():
            await self._completions.update_one({"_id": completion_id}, update, upsert=True)

    async def forget_completion(self, user_id: UserId, completion_id: CompletionId) -> None:
        """See the port."""
        # First: then nothing but this tells whose its frames are.
        await self._purges.keep_running(user_digest(user_id), completion_id)
        with border():
            for collection in (self._usage, self._completions):
                await collection.delete_one({"_id": completion_id, "user_id": user_id})

    async def known(self, completion_id: CompletionId) -> Known:
        """See the port."""
        with border():
            document = await self._completions.find_one(
                {"_id": completion_id}, {"state": 1, "accepted_at": 1, "rejected": 1}
            )
        if document is None:
            return Known()
        return Known(
            accepted="accepted_at" in document,
            ended=document["state"] == _ENDED,
            rejected="rejected" in document,
        )

    async def overdue(self, before: int, limit: int) -> list[OpenCompletion]:
        """See the port."""
        query = {"state": _OPEN, "overdue_at": {"$lt": before}}
        with border():
            documents = await self._completions.find(query).limit(limit).to_list(limit)
        return [OpenCompletion.model_validate(fields_of(document)) for document in documents]


def recency(updated_at: int, session_id: SessionId) -> str:
    """The order of a list as one text: the embedded server sorts and ranges by one field best."""
    return f"{updated_at:015d}|{session_id}"
