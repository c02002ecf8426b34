"""Messages on MongoDB, read by ranges of two texts that sort.

``place`` is ``<session>|<depth>|<id>`` and ``order`` is ``<session>|<turn>|<depth>|<id>``. One text
with one index serves a range on both servers: the embedded one uses no compound index, and would
take an index on the session alone if the query named it. Hidden messages have neither.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo import UpdateOne

from services.history.adapters.mongo_client import (
    MESSAGES,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.places import Node
from services.history.records import MessageRecord
from shared.contracts.ids import MessageId, SessionId, UserId

_NODE: Final = {"parent_id": 1, "depth": 1, "turn": 1, "size": 1}
_ABSENT: Final = {"$exists": False}
_AFTER_ALL: Final = "~"
"""Sorts behind every digit."""
_BATCH: Final = 100
"""Messages in one write: a larger one would hold up other users of the embedded server."""


def stored_message(message: MessageRecord) -> Document:
    """The message as it is stored, with the texts that it is found by."""
    session_id, depth, message_id = message.session_id, message.depth, message.id
    return {
        **document_of(message),
        "place": place(session_id, depth, message_id),
        "order": order(session_id, message.turn, depth, message_id),
    }


def place(session_id: SessionId, depth: int, message_id: str = "") -> str:
    """Where a message stands by depth, or where a depth begins."""
    return f"{session_id}|{depth:010d}|{message_id}"


def order(session_id: SessionId, turn: int, depth: int, message_id: MessageId) -> str:
    """Where a message stands by turn."""
    return f"{session_id}|{turn:010d}|{depth:010d}|{message_id}"


class MongoMessageStore:
    """``MessageStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._messages = database[MESSAGES]

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        """See the port."""
        if not ids:
            return []
        # The session is compared here: named in the query, its index would be taken, and all of
        # its messages looked through.
        query: Document = {
            "_id": {"$in": list(ids)} if len(ids) > 1 else ids[0],
            "user_id": {"$eq": user_id},
            "rejected": _ABSENT,
        }
        with border():
            documents = await self._messages.find(query).to_list(None)
        return [
            MessageRecord.model_validate(fields_of(document))
            for document in documents
            if document["session_id"] == session_id
        ]

    async def nodes(
        self, user_id: UserId, session_id: SessionId, first_depth: int, last_depth: int
    ) -> list[Node]:
        """See the port."""
        between = {"$gte": place(session_id, first_depth), "$lt": place(session_id, last_depth + 1)}
        # ``$eq``: on the embedded server a bare value would be looked for in arrays too.
        query = {"place": between, "user_id": {"$eq": user_id}}
        with border():
            documents = await self._messages.find(query, _NODE).sort("place", 1).to_list(None)
        return [_node(document) for document in documents]

    async def newest(self, user_id: UserId, session_id: SessionId) -> Node | None:
        """See the port."""
        of_session = {"$gte": f"{session_id}|", "$lt": f"{session_id}|{_AFTER_ALL}"}
        query = {"order": of_session, "user_id": {"$eq": user_id}}
        with border():
            documents = (
                await self._messages.find(query, _NODE).sort("order", -1).limit(1).to_list(1)
            )
        return _node(documents[0]) if documents else None

    async def tree(
        self,
        user_id: UserId,
        session_id: SessionId,
        after: tuple[int, MessageId] | None,
        limit: int,
    ) -> list[Node]:
        """See the port."""
        begin = {"$gt": place(session_id, *after)} if after else {"$gte": f"{session_id}|"}
        query = {
            "place": {**begin, "$lt": f"{session_id}|{_AFTER_ALL}"},
            "user_id": {"$eq": user_id},
        }
        with border():
            cursor = self._messages.find(query, _NODE).sort("place", 1).limit(limit)
            documents = await cursor.to_list(limit)
        return [_node(document) for document in documents]

    async def stretch(
        self,
        user_id: UserId,
        session_id: SessionId,
        first: tuple[int, MessageId],
        last: tuple[int, MessageId],
    ) -> list[MessageRecord]:
        """See the port."""
        between = {"$gte": place(session_id, *first), "$lte": place(session_id, *last)}
        query = {"place": between, "user_id": {"$eq": user_id}}
        with border():
            documents = await self._messages.find(query).sort("place", 1).to_list(None)
        return [MessageRecord.model_validate(fields_of(document)) for document in documents]

    async def repair(self, user_id: UserId, session_id: SessionId) -> int:
        """See the port: messages that were stored before there were ``place`` and ``order``."""
        query = {
            "session_id": session_id,
            "user_id": user_id,
            "rejected": _ABSENT,
            "place": _ABSENT,
        }
        with border():
            documents = await self._messages.find(query, {"depth": 1, "turn": 1}).to_list(None)
            for at in range(0, len(documents), _BATCH):
                writes = [_placing(session_id, it) for it in documents[at : at + _BATCH]]
                await self._messages.bulk_write(writes, ordered=False)
        return len(documents)


def _placing(session_id: SessionId, document: Mapping[str, Any]) -> UpdateOne:
    message_id, depth, turn = document["_id"], document["depth"], document["turn"]
    found_by = {
        "place": place(session_id, depth, message_id),
        "order": order(session_id, turn, depth, message_id),
    }
    # A rejection may come meanwhile: what it hid has no place.
    return UpdateOne({"_id": message_id, "rejected": _ABSENT}, {"$set": found_by})


def _node(document: Mapping[str, Any]) -> Node:
    return Node(
        id=document["_id"],
        parent_id=document.get("parent_id"),
        depth=document["depth"],
        turn=document["turn"],
        size=document["size"],
    )
