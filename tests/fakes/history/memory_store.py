"""All stores of sessions and turns in memory, with the same rules as MongoDB's."""

from collections.abc import Sequence
from typing import Any

from services.history.records import (
    Advance,
    Change,
    Known,
    OpenCompletion,
    SessionRecord,
    UsageRecord,
)
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.user_purge import user_digest
from tests.fakes.history.memory_messages import MemoryMessages


class MemoryStore(MemoryMessages):
    """Everything is a dictionary; ``available = False`` is a database that is away."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.usage: dict[CompletionId, UsageRecord] = {}
        self.open: dict[CompletionId, OpenCompletion] = {}
        self.ended: dict[CompletionId, int] = {}
        self.rejected: set[CompletionId] = set()
        self.enders: dict[CompletionId, UserId] = {}
        """Whose the ended ones are."""
        self.purging: set[SessionId] = set()
        """Sessions that a purge has claimed and not yet removed."""
        self.marks: dict[str, PurgeMark] = {}

    def everything(self) -> dict[str, Any]:
        """All that is stored, for comparing two stores."""
        return {
            "sessions": dict(self.sessions),
            "messages": dict(self.stored_messages),
            "terms": dict(self.terms),
            "usage": dict(self.usage),
            "open": dict(self.open),
            "ended": dict(self.ended),
            "rejected": set(self.rejected),
        }

    async def owns(self, user_id: UserId, session_id: SessionId) -> bool:
        self._check()
        session = self.sessions.get(session_id)
        return session is not None and session.user_id == user_id and session_id not in self.purging

    async def purge_of(self, user_id: UserId) -> PurgeMark | None:
        self._check()
        return self.marks.get(user_digest(user_id))

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
        if advance.running is not None:
            completion_id, title = advance.running
            running = {completion_id: f"{advance.turn:010d}|{title}"}
            changes["running_titles"] = {**(session.running_titles or {}), **running}
        self.sessions[session_id] = session.model_copy(update=changes)

    async def running_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId
    ) -> str | None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id or session.running_titles is None:
            return None
        running = session.running_titles.get(completion_id)
        return running.partition("|")[2] if running is not None else None

    async def settle_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId, *, keep: bool
    ) -> None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return
        running = dict(session.running_titles or {})
        title = running.pop(completion_id, None)
        changes: dict[str, object] = {"running_titles": running or None}
        if keep and title is not None:
            changes["auto_title"] = min(session.auto_title or title, title)
        self.sessions[session_id] = session.model_copy(update=changes)

    async def forget(self, user_id: UserId, session_id: SessionId) -> None:
        self._check()
        self._forget([session_id], user_id)

    async def open_completion(self, completion: OpenCompletion) -> None:
        self._check()
        self.open[completion.id] = completion

    async def end_completion(
        self,
        completion_id: CompletionId,
        user_id: UserId,
        ended_at: int,
        *,
        rejected: bool = False,
    ) -> None:
        self._check()
        if rejected:
            self.rejected.add(completion_id)
        self.enders[completion_id] = user_id
        self.ended[completion_id] = min(self.ended.get(completion_id, ended_at), ended_at)

    async def forget_completion(self, user_id: UserId, completion_id: CompletionId) -> None:
        self._check()
        mark = self.marks.get(user_digest(user_id))
        if mark is not None and mark.user_id is not None:
            running = sorted({*(mark.running or ()), completion_id})
            self.marks[mark.id] = mark.model_copy(update={"running": running})
        usage = self.usage.get(completion_id)
        if usage is not None and usage.user_id == user_id:
            del self.usage[completion_id]
        if completion_id in self.known_of(user_id):
            for place in (self.open, self.ended, self.enders):
                place.pop(completion_id, None)

    def known_of(self, user_id: UserId) -> list[CompletionId]:
        """Completions of a user that there are marks of."""
        opened = {it.id for it in self.open.values() if it.user_id == user_id}
        return sorted(opened | {it for it, who in self.enders.items() if who == user_id})

    async def known(self, completion_id: CompletionId) -> Known:
        self._check()
        return Known(
            accepted=completion_id in self.open,
            ended=completion_id in self.ended,
            rejected=completion_id in self.rejected,
        )

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

    def _listed(self, user_id: UserId, *, deleted: bool) -> list[SessionRecord]:
        self._check()
        return [
            session
            for session in self.sessions.values()
            if session.user_id == user_id
            and (session.deleted_at is not None) is deleted
            and not session.forming
            and session.id not in self.purging
        ]

    async def page(
        self,
        user_id: UserId,
        limit: int,
        before: tuple[int, SessionId] | None,
        *,
        deleted: bool = False,
    ) -> list[SessionRecord]:
        listed = [
            session
            for session in self._listed(user_id, deleted=deleted)
            if before is None or (session.updated_at, session.id) < before
        ]
        return sorted(listed, key=lambda it: (it.updated_at, it.id), reverse=True)[:limit]

    async def some(
        self, user_id: UserId, ids: Sequence[SessionId], *, deleted: bool = False
    ) -> list[SessionRecord]:
        return [it for it in self._listed(user_id, deleted=deleted) if it.id in ids]

    async def change(
        self, user_id: UserId, session_id: SessionId, version: int, change: Change
    ) -> SessionRecord | None:
        session = await self.get(user_id, session_id)
        if session is None or session.version != version:
            return None
        changes = {
            **dict.fromkeys(change.cleared),
            **change.settings,
            "version": version + 1,
            "updated_at": max(session.updated_at, change.updated_at),
        }
        if change.title is not None:
            changes["title"] = change.title
        self.sessions[session_id] = session.model_copy(update=changes)
        return self.sessions[session_id]

    async def delete(
        self,
        user_id: UserId,
        session_id: SessionId,
        deleted_at: int,
        *,
        version: int | None = None,
    ) -> SessionRecord | None:
        session = await self.get(user_id, session_id)
        if session is None or version not in (None, session.version):
            return None
        self.sessions[session_id] = session.model_copy(update={"deleted_at": deleted_at})
        return session

    async def restore(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.forming or session.deleted_at is None:
            return None
        if not await self.owns(user_id, session_id):
            return None
        self.sessions[session_id] = session.model_copy(update={"deleted_at": None})
        return self.sessions[session_id]

    async def find(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        self._check()
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return None
        purging = session_id in self.purging or None
        return session.model_copy(update={"purging": purging})

    async def form(self, session: SessionRecord) -> SessionRecord | None:
        self._check()
        unseen = {"forming": True, "deleted_at": session.updated_at}
        stored = self.sessions.setdefault(session.id, session.model_copy(update=unseen))
        gone = stored.deleted_at is not None and not stored.forming
        gone = gone or session.id in self.purging
        return None if gone or stored.user_id != session.user_id else stored

    async def abandon(self, user_id: UserId, session_id: SessionId) -> None:
        self._check()
        stored = self.sessions.get(session_id)
        if stored is not None and stored.user_id == user_id and stored.forming:
            del self.sessions[session_id]

    async def show(self, session: SessionRecord) -> SessionRecord | None:
        self._check()
        stored = self.sessions.get(session.id)
        owned = await self.owns(session.user_id, session.id)
        if stored is not None and owned and stored.forming:
            changes = {
                "turn": max(stored.turn, session.turn),
                "message_count": max(stored.message_count, session.message_count),
                "leaf": max(stored.leaf or "", session.leaf or "") or None,
                "forming": None,
                "deleted_at": None,
            }
            self.sessions[session.id] = stored.model_copy(update=changes)
        return await self.get(session.user_id, session.id)

    async def ping(self) -> None:
        self._check()

    async def purge(
        self, deleted_before: int, ended_before: int, limit: int, *, formed_before: int = 0
    ) -> int:
        self._check()
        self.ended = {key: at for key, at in self.ended.items() if at >= ended_before}
        gone = [
            session.id
            for session in self.sessions.values()
            if session.id in self.purging
            or (
                session.deleted_at is not None
                and session.deleted_at < (formed_before if session.forming else deleted_before)
            )
        ][:limit]
        for session_id in gone:
            del self.sessions[session_id]
        self._forget(gone)
        return len(gone)
