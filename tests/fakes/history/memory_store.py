"""``TurnStore`` and ``SessionStore`` in memory, with the same rules as MongoDB's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.history.records import (
    Advance,
    Known,
    MessageRecord,
    Node,
    OpenCompletion,
    SessionRecord,
    UsageRecord,
)
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import HistoryUnavailable


@dataclass(frozen=True)
class Stub:
    """What is left of a hidden message."""

    session_id: SessionId


class MemoryStore:
    """Everything is a dictionary; ``available = False`` is a database that is away."""

    def __init__(self) -> None:
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.stored_messages: dict[MessageId, MessageRecord | Stub] = {}
        self.usage: dict[CompletionId, UsageRecord] = {}
        self.open: dict[CompletionId, OpenCompletion] = {}
        self.ended: dict[CompletionId, int] = {}
        self.available = True

    def everything(self) -> dict[str, Any]:
        """All that is stored, for comparing two stores."""
        return {
            "sessions": dict(self.sessions),
            "messages": dict(self.stored_messages),
            "usage": dict(self.usage),
            "open": dict(self.open),
            "ended": dict(self.ended),
        }

    def message(self, message_id: MessageId) -> MessageRecord:
        """A message that is stored whole."""
        found = self.stored_messages[message_id]
        assert isinstance(found, MessageRecord)
        return found

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("away")

    async def owns(self, user_id: UserId, session_id: SessionId) -> bool:
        self._check()
        session = self.sessions.get(session_id)
        return session is not None and session.user_id == user_id

    async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
        self._check()
        for message in messages:
            self.stored_messages.setdefault(message.id, message)

    async def hide_messages(
        self,
        user_id: UserId,
        session_id: SessionId,
        completion_id: CompletionId,
        ids: Sequence[MessageId],
    ) -> None:
        self._check()
        for message_id in ids:
            self.stored_messages[message_id] = Stub(session_id)

    async def add_usage(self, usage: UsageRecord) -> None:
        self._check()
        self.usage.setdefault(usage.id, usage)

    async def advance(self, user_id: UserId, session_id: SessionId, advance: Advance) -> None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return
        changes: dict[str, object] = {"turn": max(session.turn, advance.turn)}
        if advance.message_count is not None:
            changes["message_count"] = max(session.message_count, advance.message_count)
        if advance.updated_at is not None:
            changes["updated_at"] = max(session.updated_at, advance.updated_at)
        if advance.leaf is not None:
            changes["leaf"] = max(session.leaf or "", advance.leaf)
        if advance.title is not None:
            title = f"{advance.turn:010d}|{advance.title}"
            changes["auto_title"] = min(session.auto_title or title, title)
        self.sessions[session_id] = session.model_copy(update=changes)

    async def open_completion(self, completion: OpenCompletion) -> None:
        self._check()
        self.open[completion.id] = completion

    async def end_completion(
        self, completion_id: CompletionId, user_id: UserId, ended_at: int
    ) -> None:
        self._check()
        self.ended[completion_id] = min(self.ended.get(completion_id, ended_at), ended_at)

    async def known(self, completion_id: CompletionId) -> Known:
        self._check()
        return Known(accepted=completion_id in self.open, ended=completion_id in self.ended)

    async def overdue(self, before: int, limit: int) -> list[OpenCompletion]:
        self._check()
        late = [
            completion
            for completion in self.open.values()
            if completion.id not in self.ended and completion.overdue_at < before
        ]
        return late[:limit]

    async def create(self, session: SessionRecord) -> SessionRecord | None:
        self._check()
        self.sessions.setdefault(session.id, session)
        return await self.get(session.user_id, session.id)

    async def get(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id or session.deleted_at is not None:
            return None
        return session

    async def page(
        self, user_id: UserId, limit: int, before: tuple[int, SessionId] | None
    ) -> list[SessionRecord]:
        self._check()
        shown = [
            session
            for session in self.sessions.values()
            if session.user_id == user_id
            and session.deleted_at is None
            and (before is None or (session.updated_at, session.id) < before)
        ]
        return sorted(shown, key=lambda it: (it.updated_at, it.id), reverse=True)[:limit]

    async def rename(
        self, user_id: UserId, session_id: SessionId, title: str, updated_at: int
    ) -> SessionRecord | None:
        session = await self.get(user_id, session_id)
        if session is None:
            return None
        moved = max(session.updated_at, updated_at)
        renamed = session.model_copy(update={"title": title, "updated_at": moved})
        self.sessions[session_id] = renamed
        return renamed

    async def delete(
        self, user_id: UserId, session_id: SessionId, deleted_at: int
    ) -> SessionRecord | None:
        session = await self.get(user_id, session_id)
        if session is not None:
            self.sessions[session_id] = session.model_copy(update={"deleted_at": deleted_at})
        return session

    def _shown(self, user_id: UserId, session_id: SessionId) -> list[MessageRecord]:
        self._check()
        return [
            message
            for message in self.stored_messages.values()
            if isinstance(message, MessageRecord)
            and message.session_id == session_id
            and message.user_id == user_id
        ]

    async def outline(self, user_id: UserId, session_id: SessionId) -> list[Node]:
        return [
            Node(it.id, it.parent_id, it.depth, it.turn, it.size)
            for it in self._shown(user_id, session_id)
        ]

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        return [it for it in self._shown(user_id, session_id) if it.id in ids]

    async def ping(self) -> None:
        self._check()

    async def purge(self, deleted_before: int, ended_before: int, limit: int) -> int:
        self._check()
        self.ended = {key: at for key, at in self.ended.items() if at >= ended_before}
        gone = [
            session.id
            for session in self.sessions.values()
            if session.deleted_at is not None and session.deleted_at < deleted_before
        ][:limit]
        for session_id in gone:
            del self.sessions[session_id]
            self.stored_messages = {
                key: it for key, it in self.stored_messages.items() if it.session_id != session_id
            }
        return len(gone)
