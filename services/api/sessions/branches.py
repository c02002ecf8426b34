"""Branches of a session as far as a context needs them, read page by page."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from services.api.ports.sessions import History
from services.api.sessions.context import estimate, size_of
from shared.contracts.history import GetSession, Session, SessionDetail, StoredMessage
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import MessageNotFound, SessionNotFound

_PAGE: Final = 200
_MOST: Final = 10_000
"""Messages that a context is looked for in."""
_LEADING: Final = 5
"""Messages at the beginning that may be the system's."""
_BYTES: Final = 4 * 2**20
"""Of a context for a window that nobody knows."""
_ROOM: Final = 1.5
"""How far beyond the window is read: estimates may be too high."""


class Place(NamedTuple):
    """A session and what must be in it already."""

    user_id: UserId
    session_id: SessionId
    after_completion: CompletionId | None


class Branches:
    """Every method raises ``SessionNotFound``, ``MessageNotFound`` and ``HistoryUnavailable``."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def message(self, place: Place, message_id: MessageId) -> StoredMessage:
        """One message of the session."""
        with _named("message_id"):
            detail = await self._page(place, message_id, limit=1)
        if not detail.messages:
            raise MessageNotFound("This message does not exist.", param="message_id")
        return detail.messages[-1]

    async def begin(
        self, place: Place, leaf: MessageId | None, *, following: bool
    ) -> tuple[Session, SessionDetail | None]:
        """The session, and the newest page of the branch to ``leaf``; ``None`` is before all.

        With ``following`` it names what comes after ``leaf``.
        """
        limit = _PAGE if leaf is not None else 1
        with _named("parent_id"):
            detail = await self._page(place, leaf, limit=limit, following=following)
        if detail.session is None:
            raise SessionNotFound("This session does not exist.", param="session_id")
        return detail.session, detail if leaf is not None else None

    async def read_on(
        self,
        place: Place,
        leaf: MessageId | None,
        newest: SessionDetail | None,
        tokens: int | None,
        size: int,
    ) -> tuple[list[StoredMessage], list[StoredMessage]]:
        """As much of the branch as may fit, and its first messages if that is not all of it."""
        if newest is None:
            return [], []
        branch, before = newest.messages, newest.next_before_depth
        while before is not None and len(branch) < _MOST and _may_fit(branch, tokens, size):
            older = await self._page(place, leaf, limit=_PAGE, before_depth=before)
            branch, before = [*older.messages, *branch], older.next_before_depth
        if before is None:
            return branch, []
        oldest = await self._page(place, leaf, limit=_LEADING, after_depth=0)
        return branch, oldest.messages

    async def _page(
        self,
        place: Place,
        leaf: MessageId | None,
        *,
        limit: int,
        before_depth: int | None = None,
        after_depth: int | None = None,
        following: bool = False,
    ) -> SessionDetail:
        return await self._history.get_session(
            GetSession(
                user_id=place.user_id,
                session_id=place.session_id,
                after_completion=place.after_completion,
                leaf=leaf,
                before_depth=before_depth,
                after_depth=after_depth,
                limit=limit,
                following=following,
            )
        )


@contextmanager
def _named(param: str) -> Generator[None]:
    # History calls it a leaf, its client has named it otherwise.
    try:
        yield
    except MessageNotFound as error:
        raise MessageNotFound(error.message, param=param) from error


def _may_fit(branch: Sequence[StoredMessage], tokens: int | None, size: int) -> bool:
    held = sum(map(size_of, branch))
    if tokens is None:
        return held < min(_BYTES, size)
    return held < size and sum(map(estimate, branch)) < _ROOM * tokens
