"""What sessions need from the world: where they stand, and where they are kept."""

from typing import NamedTuple, Protocol

from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    Session,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.history_health import HistoryHealth
from shared.contracts.ids import CompletionId, SessionId
from shared.contracts.questions import Q, Question, R
from shared.contracts.user_purge import OwnedEntry


class Held(NamedTuple):
    """A value and the revision that a change of it must name."""

    state: "TurnState"
    revision: int
    age: float = 0.0
    """Seconds since it was written; clocks may differ."""


class TurnState(OwnedEntry):
    """The turn of a session, as all gateways see it."""

    running: CompletionId | None = None
    """The completion that holds the session; absent when it is idle."""
    last: CompletionId | None = None
    """The last one that ended and left something."""
    head: SessionHead | None = None
    """The branch's end after ``last``: places the next turn while MongoDB is away."""
    deleted: bool = False
    """Its user has deleted the session, or was about to; nothing begins in it."""


class Turns(Protocol):
    """One entry per session; changes name the revision they have seen."""

    async def get(self, session_id: SessionId) -> Held | None:
        """The entry, or ``None`` if nothing ran in this session for 24 hours.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def set(
        self, session_id: SessionId, state: TurnState, revision: int | None
    ) -> int | None:
        """Replace the entry of ``revision`` (``None``: there is none); ``None`` if it has changed.

        A running entry lives until its completion has ended in any case, an idle one 24 hours.

        Raises:
            BrokerUnavailable: not set, or set without our hearing of it.
        """
        ...


class Asking(Protocol):
    """Everything that the history service can be asked."""

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        """The reply of whichever history service is free.

        Raises:
            PayloadTooLarge: the broker does not carry so large a question.
            ChatError: what the reply says; a resource that is not this user's does not exist.
            HistoryUnavailable: nobody answers, or its database is away.
        """
        ...


class History(Asking, Protocol):
    """Sessions and their messages.

    Raises (every call):
        SessionNotFound: there is none of this user's with this id.
        HistoryUnavailable: nobody answers, or its database is away.
    """

    async def list_sessions(self, query: ListSessions) -> SessionPage:
        """A page of sessions."""
        ...

    async def create_session(self, command: CreateSession) -> Session:
        """A new session."""
        ...

    async def get_session(self, query: GetSession) -> SessionDetail:
        """A session and a page of its messages."""
        ...

    async def update_session(self, command: UpdateSession) -> SessionReply:
        """A session with another title; the reply says if nothing was to be changed."""
        ...

    async def delete_session(self, command: DeleteSession) -> None:
        """Remove it from sight."""
        ...

    async def session_head(self, query: SessionHeadQuery) -> SessionHead:
        """Where the next turn goes."""
        ...

    async def health(self) -> HistoryHealth:
        """How it is."""
        ...
