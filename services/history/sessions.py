"""What people do with their sessions: list, create, rename, delete."""

from collections.abc import Callable
from datetime import datetime

from services.history.cursor import parse_cursor, to_cursor
from services.history.freshness import Freshness
from services.history.ports import SessionStore
from services.history.records import SessionRecord, to_milliseconds
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    ListSessions,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.errors import SessionNotFound


def found(session: SessionRecord | None) -> SessionRecord:
    """The session.

    Raises:
        SessionNotFound: there is none: unknown, deleted and foreign look alike.
    """
    if session is None:
        raise SessionNotFound("the session does not exist", param="session_id")
    return session


class Sessions:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(
        self, store: SessionStore, freshness: Freshness, *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._freshness = freshness
        self._now = now

    async def page(self, query: ListSessions) -> SessionPage:
        """A page of the user's sessions; turns whose end was published are in it.

        Raises:
            InvalidRequest: the cursor is malformed.
        """
        before = parse_cursor(query.cursor) if query.cursor is not None else None
        await self._freshness.everything()
        # One more than asked for tells whether there is a next page.
        records = await self._store.page(query.user_id, query.limit + 1, before)
        page = records[: query.limit]
        more = len(records) > query.limit
        return SessionPage(
            sessions=[record.to_session() for record in page],
            next_cursor=to_cursor(page[-1].updated_at, page[-1].id) if more else None,
        )

    async def create(self, command: CreateSession) -> SessionReply:
        """Make the session; again, it gives the one that is there.

        Raises:
            SessionNotFound: the id is taken by another user or was deleted.
        """
        now = to_milliseconds(self._now())
        record = SessionRecord(
            id=command.session_id,
            user_id=command.user_id,
            title=command.title,
            model=command.model,
            created_at=now,
            updated_at=now,
        )
        return SessionReply(session=found(await self._store.create(record)).to_session())

    async def rename(self, command: UpdateSession) -> SessionReply:
        """Give the title that no message changes any more; ``updated_at`` moves.

        Raises:
            SessionNotFound: see ``found``.
        """
        session = found(await self._store.get(command.user_id, command.session_id))
        # Moves even where a worker's clock is ahead of this one.
        moved = max(to_milliseconds(self._now()), session.updated_at + 1)
        title = command.title if command.title is not None else session.title or ""
        renamed = await self._store.rename(command.user_id, command.session_id, title, moved)
        return SessionReply(session=found(renamed).to_session())

    async def delete(self, command: DeleteSession) -> SessionReply:
        """Hide the session for good; gives it as it was.

        Raises:
            SessionNotFound: see ``found``; a second delete says so too.
        """
        now = to_milliseconds(self._now())
        deleted = await self._store.delete(command.user_id, command.session_id, now)
        return SessionReply(session=found(deleted).to_session())
