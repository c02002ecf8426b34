"""What people do with their sessions: list, create, delete, restore."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from services.history.cursor import parse_cursor, to_cursor
from services.history.freshness import Freshness
from services.history.news import News
from services.history.ports import SessionStore, TurnStore
from services.history.records import SETTINGS, SessionRecord, to_milliseconds
from services.history.searching import Searching
from services.history.words import asked_words, words_of
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    ListSessions,
    RestoreSession,
    Session,
    SessionPage,
    SessionReply,
)
from shared.contracts.ids import SessionId
from shared.errors import SessionNotFound, VersionConflict

_PAGE_BYTES: Final = 850_000
"""Sessions of one page: a reply has to fit into one message of the broker."""


def found(session: SessionRecord | None) -> SessionRecord:
    """The session.

    Raises:
        SessionNotFound: there is none: unknown, deleted and foreign look alike.
    """
    if session is None:
        raise SessionNotFound("This session does not exist.", param="session_id")
    return session


def conflict(session: SessionRecord, wanted: int | None) -> VersionConflict:
    """Somebody else has changed it since it was read."""
    message = f"This session has version {session.version}, not {wanted}."
    return VersionConflict(message, param="version")


class Sessions:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(
        self,
        store: SessionStore,
        turns: TurnStore,
        searching: Searching,
        freshness: Freshness,
        news: News,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._turns = turns
        self._searching = searching
        self._freshness = freshness
        self._news = news
        self._now = now

    async def page(self, query: ListSessions) -> SessionPage:
        """A page of the user's sessions; turns whose end was published are in it.

        Shorter than asked for where settings are large, but never empty while there are more.
        A search that holds no word finds nothing.

        Raises:
            InvalidRequest: the cursor is malformed.
        """
        before = parse_cursor(query.cursor) if query.cursor is not None else None
        await self._freshness.everything()
        # One more than asked for tells whether there is a next page.
        records = await self._records(query, query.limit + 1, before)
        page = _fitting(records[: query.limit])
        last = records[len(page) - 1] if len(page) < len(records) else None
        return SessionPage(
            sessions=page,
            next_cursor=to_cursor(last.updated_at, last.id) if last is not None else None,
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
            preset_id=command.preset_id,
            created_at=now,
            updated_at=now,
            placed=True,
            **command.model_dump(include=set(SETTINGS)),
        )
        session = found(await self._store.create(record))
        if session.title is not None:
            await self._turns.add_terms(
                session.user_id, session.id, words_of(session.title), said=False
            )
        await self._news.created(session.user_id, session.to_session())
        return SessionReply(session=session.to_session())

    async def delete(self, command: DeleteSession) -> SessionReply:
        """Hide the session until somebody restores it, or it is purged.

        Raises:
            SessionNotFound: see ``found``; a second delete says so too.
            VersionConflict: the session has another version than the command names.
        """
        now = to_milliseconds(self._now())
        deleted = await self._store.delete(
            command.user_id, command.session_id, now, version=command.version
        )
        if deleted is None:
            there = found(await self._store.get(command.user_id, command.session_id))
            raise conflict(there, command.version)
        gone = deleted.model_copy(update={"deleted_at": now})
        await self._news.deleted(gone.user_id, gone.id)
        return SessionReply(session=gone.to_session())

    async def restore(self, command: RestoreSession) -> SessionReply:
        """Show the session again; one that is not deleted stays as it is, and the reply says so.

        Raises:
            SessionNotFound: it is unknown, foreign or purged.
        """
        restored = await self._store.restore(command.user_id, command.session_id)
        if restored is not None:
            await self._news.created(restored.user_id, restored.to_session())
            return SessionReply(session=restored.to_session())
        there = found(await self._store.get(command.user_id, command.session_id))
        return SessionReply(session=there.to_session(), unchanged=True)

    async def _records(
        self, query: ListSessions, limit: int, before: tuple[int, SessionId] | None
    ) -> list[SessionRecord]:
        user_id, deleted = query.user_id, query.deleted
        if query.search is None or not query.search.strip():
            return await self._store.page(user_id, limit, before, deleted=deleted)
        words = asked_words(query.search)
        if not words:
            return []
        return await self._searching.page(user_id, words, limit, before, deleted=deleted)


def _fitting(records: list[SessionRecord]) -> list[Session]:
    page: list[Session] = []
    size = 0
    for record in records:
        session = record.to_session()
        size += len(session.to_bytes())
        if page and size > _PAGE_BYTES:
            break
        page.append(session)
    return page
