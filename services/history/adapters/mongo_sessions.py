"""Sessions on MongoDB: every query names the user, and passes over what is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo import ReturnDocument

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    SESSIONS,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.adapters.mongo_turns import recency
from services.history.records import MessageRecord, Node, SessionRecord
from shared.contracts.ids import MessageId, SessionId, UserId

_OUTLINE: Final = {"parent_id": 1, "depth": 1, "turn": 1, "size": 1}
_SHOWN: Final = {"$exists": False}


class MongoSessionStore:
    """``SessionStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = database[SESSIONS]
        self._messages = database[MESSAGES]
        self._completions = database[COMPLETIONS]

    async def create(self, session: SessionRecord) -> SessionRecord | None:
        """See the port."""
        document = document_of(session)
        key = {"_id": document.pop("_id")}
        document["recency"] = recency(session.updated_at, session.id)
        with border():
            await self._sessions.update_one(key, {"$setOnInsert": document}, upsert=True)
        return await self.get(session.user_id, session.id)

    async def get(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """See the port."""
        with border():
            document = await self._sessions.find_one(_key(user_id, session_id))
        return _session(document)

    async def page(
        self, user_id: UserId, limit: int, before: tuple[int, SessionId] | None
    ) -> list[SessionRecord]:
        """See the port."""
        query: Document = {"user_id": user_id, "deleted_at": _SHOWN}
        if before is not None:
            query["recency"] = {"$lt": recency(*before)}
        with border():
            cursor = self._sessions.find(query).sort("recency", -1).limit(limit)
            documents = await cursor.to_list(limit)
        return [SessionRecord.model_validate(fields_of(document)) for document in documents]

    async def rename(
        self, user_id: UserId, session_id: SessionId, title: str, updated_at: int
    ) -> SessionRecord | None:
        """See the port."""
        order = recency(updated_at, session_id)
        update = {"$set": {"title": title}, "$max": {"updated_at": updated_at, "recency": order}}
        with border():
            document = await self._sessions.find_one_and_update(
                _key(user_id, session_id), update, return_document=ReturnDocument.AFTER
            )
        return _session(document)

    async def delete(
        self, user_id: UserId, session_id: SessionId, deleted_at: int
    ) -> SessionRecord | None:
        """See the port."""
        with border():
            document = await self._sessions.find_one_and_update(
                _key(user_id, session_id),
                {"$set": {"deleted_at": deleted_at}},
                return_document=ReturnDocument.BEFORE,
            )
        return _session(document)

    async def outline(self, user_id: UserId, session_id: SessionId) -> list[Node]:
        """See the port."""
        query = {"session_id": session_id, "user_id": user_id, "rejected": _SHOWN}
        with border():
            documents = await self._messages.find(query, _OUTLINE).to_list(None)
        return [
            Node(
                id=document["_id"],
                parent_id=document.get("parent_id"),
                depth=document["depth"],
                turn=document["turn"],
                size=document["size"],
            )
            for document in documents
        ]

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        """See the port."""
        if not ids:
            return []
        query: Document = {
            "_id": {"$in": list(ids)} if len(ids) > 1 else ids[0],
            "session_id": session_id,
            "user_id": user_id,
            "rejected": _SHOWN,
        }
        with border():
            documents = await self._messages.find(query).to_list(None)
        return [MessageRecord.model_validate(fields_of(document)) for document in documents]

    async def ping(self) -> None:
        """See the port."""
        with border():
            await self._database.command("ping")

    async def purge(self, deleted_before: int, ended_before: int, limit: int) -> int:
        """See the port. Messages first: a purge that is cut off is finished by the next one."""
        with border():
            await self._completions.delete_many({"ended_at": {"$lt": ended_before}})
            cursor = self._sessions.find({"deleted_at": {"$lt": deleted_before}}, {"_id": 1})
            sessions = [document["_id"] for document in await cursor.limit(limit).to_list(limit)]
            for session_id in sessions:
                await self._messages.delete_many({"session_id": session_id})
                await self._sessions.delete_one({"_id": session_id})
        return len(sessions)


def _key(user_id: UserId, session_id: SessionId) -> Document:
    return {"_id": session_id, "user_id": user_id, "deleted_at": _SHOWN}


def _session(document: Mapping[str, Any] | None) -> SessionRecord | None:
    return None if document is None else SessionRecord.model_validate(fields_of(document))
