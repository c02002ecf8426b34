"""Sessions on MongoDB: every query names the user, and passes over what is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo import ReturnDocument

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    SESSIONS,
    TERMS,
    Database,
    Document,
    border,
    document_of,
    fields_of,
)
from services.history.adapters.mongo_turns import recency
from services.history.records import Change, SessionRecord
from shared.contracts.ids import SessionId, UserId

_ABSENT: Final = {"$exists": False}
_PRESENT: Final = {"$exists": True}
_WHOLE: Final = {"forming": _ABSENT, "purging": _ABSENT}
"""Neither still being made nor being removed already."""


class MongoSessionStore:
    """``SessionStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = database[SESSIONS]
        self._messages = database[MESSAGES]
        self._terms = database[TERMS]
        self._completions = database[COMPLETIONS]

    async def create(self, session: SessionRecord) -> SessionRecord | None:
        """See the port."""
        document = _document(session)
        key = {"_id": document.pop("_id")}
        with border():
            await self._sessions.update_one(key, {"$setOnInsert": document}, upsert=True)
        return await self.get(session.user_id, session.id)

    async def get(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """See the port."""
        with border():
            document = await self._sessions.find_one(_key(user_id, session_id))
        return _session(document)

    async def page(
        self,
        user_id: UserId,
        limit: int,
        before: tuple[int, SessionId] | None,
        *,
        deleted: bool = False,
    ) -> list[SessionRecord]:
        """See the port."""
        query: Document = {"user_id": user_id, "deleted_at": _PRESENT if deleted else _ABSENT}
        if deleted:
            query.update(_WHOLE)
        if before is not None:
            query["recency"] = {"$lt": recency(*before)}
        with border():
            cursor = self._sessions.find(query).sort("recency", -1).limit(limit)
            documents = await cursor.to_list(limit)
        return [SessionRecord.model_validate(fields_of(document)) for document in documents]

    async def some(
        self, user_id: UserId, ids: Sequence[SessionId], *, deleted: bool = False
    ) -> list[SessionRecord]:
        """See the port."""
        if not ids:
            return []
        query: Document = {
            "_id": {"$in": list(ids)},
            "user_id": {"$eq": user_id},
            "deleted_at": _PRESENT if deleted else _ABSENT,
            **_WHOLE,
        }
        with border():
            documents = await self._sessions.find(query).to_list(None)
        return [SessionRecord.model_validate(fields_of(document)) for document in documents]

    async def change(
        self, user_id: UserId, session_id: SessionId, version: int, change: Change
    ) -> SessionRecord | None:
        """See the port. No ``$inc``: a version counts up only from the one that was seen."""
        values = {**change.settings, "version": version + 1}
        if change.title is not None:
            values["title"] = change.title
        order = recency(change.updated_at, session_id)
        update: Document = {
            "$set": values,
            "$max": {"updated_at": change.updated_at, "recency": order},
        }
        if change.cleared:
            update["$unset"] = dict.fromkeys(change.cleared, "")
        return await self._update(user_id, session_id, version, update, ReturnDocument.AFTER)

    async def delete(
        self,
        user_id: UserId,
        session_id: SessionId,
        deleted_at: int,
        *,
        version: int | None = None,
    ) -> SessionRecord | None:
        """See the port."""
        update = {"$set": {"deleted_at": deleted_at}}
        return await self._update(user_id, session_id, version, update, ReturnDocument.BEFORE)

    async def _update(
        self,
        user_id: UserId,
        session_id: SessionId,
        version: int | None,
        update: Document,
        shown: bool,
    ) -> SessionRecord | None:
        key = _key(user_id, session_id)
        queries = [key] if version is None else [{**key, "version": version}]
        if version == 1:
            # In a query of its own: the embedded server reads everything for an ``$or``.
            queries.append({**key, "version": _ABSENT})
        for query in queries:
            with border():
                document = await self._sessions.find_one_and_update(
                    query, update, return_document=shown
                )
            if document is not None:
                return _session(document)
        return None

    async def restore(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """See the port. What a purge has begun to remove does not come back."""
        query = {"_id": session_id, "user_id": user_id, "deleted_at": _PRESENT, **_WHOLE}
        with border():
            document = await self._sessions.find_one_and_update(
                query, {"$unset": {"deleted_at": ""}}, return_document=ReturnDocument.AFTER
            )
        return _session(document)

    async def find(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """See the port."""
        with border():
            return _session(await self._sessions.find_one({"_id": session_id, "user_id": user_id}))

    async def form(self, session: SessionRecord) -> SessionRecord | None:
        """See the port. Unseen is deleted: one that is never finished is purged like those."""
        document = _document(session)
        key = {"_id": document.pop("_id")}
        unseen = {"forming": True, "deleted_at": session.updated_at}
        with border():
            await self._sessions.update_one(
                key, {"$setOnInsert": {**document, **unseen}}, upsert=True
            )
            found = await self._sessions.find_one(
                {"_id": session.id, "user_id": session.user_id, "purging": _ABSENT}
            )
        record = _session(found)
        gone = record is not None and record.deleted_at is not None and not record.forming
        return None if gone else record

    async def abandon(self, user_id: UserId, session_id: SessionId) -> None:
        """See the port."""
        with border():
            await self._sessions.delete_one(
                {"_id": session_id, "user_id": user_id, "forming": _PRESENT}
            )

    async def show(self, session: SessionRecord) -> SessionRecord | None:
        """See the port."""
        moved = {
            "turn": session.turn,
            "message_count": session.message_count,
            **({"leaf": session.leaf} if session.leaf is not None else {}),
        }
        query = {"_id": session.id, "user_id": session.user_id, "purging": _ABSENT}
        update = {"$max": moved, "$unset": {"forming": "", "deleted_at": ""}}
        with border():
            await self._sessions.update_one({**query, "forming": _PRESENT}, update)
        return await self.get(session.user_id, session.id)

    async def ping(self) -> None:
        """See the port."""
        with border():
            await self._database.command("ping")

    async def purge(
        self, deleted_before: int, ended_before: int, limit: int, *, formed_before: int = 0
    ) -> int:
        """See the port. Messages first: a purge that is cut off is finished by the next one."""
        gone = 0
        with border():
            await self._completions.delete_many({"ended_at": {"$lt": ended_before}})
            for due in (
                {"purging": True},
                {"deleted_at": {"$lt": deleted_before}, "forming": _ABSENT},
                {"forming": True, "deleted_at": {"$lt": formed_before}},
            ):
                cursor = self._sessions.find(due, {"_id": 1}).limit(limit - gone)
                sessions = await cursor.to_list(limit) if gone < limit else []
                for document in sessions:
                    await self._remove(document["_id"], due)
                gone += len(sessions)
        return gone

    async def _remove(self, session_id: SessionId, due: Document) -> None:
        # Claimed first: somebody may be restoring it, or finishing it.
        claimed = await self._sessions.update_one(
            {"_id": session_id, **due}, {"$set": {"purging": True}}
        )
        if claimed.matched_count:
            await self._messages.delete_many({"session_id": session_id})
            await self._terms.delete_many({"session_id": session_id})
            await self._sessions.delete_one({"_id": session_id})


def _document(session: SessionRecord) -> Document:
    return {**document_of(session), "recency": recency(session.updated_at, session.id)}


def _key(user_id: UserId, session_id: SessionId) -> Document:
    return {"_id": session_id, "user_id": user_id, "deleted_at": _ABSENT}


def _session(document: Mapping[str, Any] | None) -> SessionRecord | None:
    return None if document is None else SessionRecord.model_validate(fields_of(document))
