"""New sessions with the messages of others: forks, and imports of files.

History goes on with a copy that takes longer than its client waits. Who asks again is to get that
session and not another one: an import says which by its file, a fork by its key. A fork without a
key may be meant to be another one; it is the same as long as nobody has heard of its session.
"""

import asyncio
from typing import Final, NamedTuple

from services.api.ports.broker import Clock
from services.api.ports.sessions import History
from services.api.sessions.sessions import Sessions, whole
from shared.contracts import session_questions as asked
from shared.contracts.history import (
    ForkSession,
    GetSession,
    Session,
    SessionReply,
)
from shared.contracts.ids import (
    MessageId,
    SessionId,
    UserId,
    forked_session_id,
    new_session_id,
)
from shared.contracts.imports import ImportSession
from shared.contracts.questions import Q, Question
from shared.errors import HistoryUnavailable, InvalidRequest

_TRIES: Final = 5
"""How often a copy is asked for once more: history gives each some five seconds."""
_TOO_SOON: Final = 4.0
_REPEATED: Final = 600.0
"""Seconds in which history takes a copy of the same id for the same one."""
_MOST_UNHEARD: Final = 1000


class Place(NamedTuple):
    """Where somebody forks."""

    user_id: UserId
    session_id: SessionId
    message_id: MessageId


class Brought(NamedTuple):
    """What an import gives."""

    session: Session
    before: bool
    """Whether the same file had become it before, and it may have been changed since."""


class Copying:
    """The use case behind the routes of copies."""

    def __init__(self, sessions: Sessions, history: History, clock: Clock) -> None:
        self._sessions = sessions
        self._history = history
        self._clock = clock
        self._unheard: dict[Place, tuple[SessionId, float]] = {}

    async def fork(
        self,
        user_id: UserId,
        session_id: SessionId,
        message_id: MessageId | None,
        key: str | None = None,
    ) -> Session:
        """A new session with the branch that ends at a message, by default the active one.

        Raises:
            InvalidRequest: the session is empty.
            HistoryUnavailable: the database is away, or it takes long: ask again.
        """
        query = GetSession(user_id=user_id, session_id=session_id, limit=1)
        page = await self._sessions.page_of(query)
        if message_id is None and not page.messages:
            raise InvalidRequest("This session has no message yet to fork at.")
        place = Place(user_id, session_id, message_id or page.messages[-1].id)
        new_id = forked_session_id(*place, key) if key is not None else self._unheard_of(place)
        command = ForkSession(**place._asdict(), new_session_id=new_id)
        try:
            made = whole(await self._patiently(asked.FORK_SESSION, command))
        except (HistoryUnavailable, asyncio.CancelledError):
            if key is None:
                self._remember(place, new_id)
            raise
        return made

    async def bring_in(self, command: ImportSession) -> Brought:
        """A new session with the messages of an export.

        Raises:
            HistoryUnavailable: the database is away, or it takes long: ask again.
        """
        reply = await self._patiently(asked.IMPORT_SESSION, command)
        return Brought(whole(reply), before=bool(reply.unchanged))

    async def _patiently(self, question: Question[Q, SessionReply], command: Q) -> SessionReply:
        # A long copy goes on after the question's time is up; asking again with its id joins it.
        for number in range(_TRIES):
            began = self._clock.monotonic()
            try:
                reply = await self._history.ask(question, command)
                return reply if number == 0 else _made_now(reply)
            except HistoryUnavailable:
                if self._clock.monotonic() - began < _TOO_SOON:
                    raise  # Not for being long: the database is away.
        return _made_now(await self._history.ask(question, command))

    def _unheard_of(self, place: Place) -> SessionId:
        session_id, until = self._unheard.pop(place, (None, 0.0))
        if session_id is None or self._clock.monotonic() >= until:
            return new_session_id()
        return session_id

    def _remember(self, place: Place, session_id: SessionId) -> None:
        while len(self._unheard) >= _MOST_UNHEARD:
            del self._unheard[next(iter(self._unheard))]
        self._unheard[place] = (session_id, self._clock.monotonic() + _REPEATED)


def _made_now(reply: SessionReply) -> SessionReply:
    """Of a copy that was asked for more than once: what is there now was begun by this call."""
    return reply.model_copy(update={"unchanged": None})
