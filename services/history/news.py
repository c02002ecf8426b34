"""What gateways are told of at once: sessions and settings that have changed, behind their write.

History tells, as it alone knows: whoever asked for a change may be gone by the time it is stored.
"""

from typing import Protocol

import structlog

from services.history.event_format import Event
from services.history.ports import SessionStore, TurnStore
from shared.contracts.events import CompletionAccepted
from shared.contracts.history import Session
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.live import HISTORY, LiveEvent, SettingsChanged
from shared.errors import HistoryUnavailable

log = structlog.stdlib.get_logger(__name__)


class Teller(Protocol):
    """Words that nobody keeps; none of these ever raises."""

    async def of_session(self, user_id: UserId, event: LiveEvent) -> None:
        """Tell the sockets of all gateways."""
        ...

    async def of_settings(self, event: SettingsChanged) -> None:
        """Tell all gateways."""
        ...


class News:
    """At most once: what is lost on the way is seen when it is read again.

    Only the end of a turn is told at least once, as its event comes again until it is
    acknowledged. Each session is told as it was behind its own write: who hears two words on one
    takes the newer one.
    """

    def __init__(self, teller: Teller) -> None:
        self._teller = teller

    async def created(self, user_id: UserId, session: Session) -> None:
        """There is a new session, or one that was deleted is back."""
        event = LiveEvent(
            type="session_created", session_id=session.id, origin=HISTORY, session=session
        )
        await self._teller.of_session(user_id, event)

    async def updated(
        self, user_id: UserId, session: Session, ended: CompletionId | None = None
    ) -> None:
        """It has another title, other settings, or one turn more: that of ``ended``."""
        event = LiveEvent(
            type="session_updated", session_id=session.id, origin=HISTORY,
            completion_id=ended, session=session,
        )  # fmt: skip
        await self._teller.of_session(user_id, event)

    async def deleted(self, user_id: UserId, session_id: SessionId) -> None:
        """It is gone."""
        event = LiveEvent(type="session_deleted", session_id=session_id, origin=HISTORY)
        await self._teller.of_session(user_id, event)

    async def settings_changed(self, user_id: UserId | None) -> None:
        """A user prefers something else; without one, what is said of models has changed."""
        await self._teller.of_settings(SettingsChanged(user_id=user_id))


class TurnNews:
    """Tells of turns, once both their events may be stored."""

    def __init__(self, sessions: SessionStore, turns: TurnStore, news: News) -> None:
        self._sessions = sessions
        self._turns = turns
        self._news = news

    async def stored(self, event: Event) -> None:
        """Tell of the turn whose event has been stored, if that has ended it.

        Raises:
            HistoryUnavailable: the database is away; nobody was told.
        """
        try:
            await self._tell(event)
        except HistoryUnavailable:
            raise
        except Exception:
            # It is stored: what cannot be told is no reason to bury it.
            log.exception("turn_not_told", completion_id=event.completion_id)

    async def _tell(self, event: Event) -> None:
        if isinstance(event, CompletionAccepted):
            turn = event.turn
            # The end may have come first, and was told without the question.
            if turn is None or not (await self._turns.known(event.completion_id)).ended:
                return
            session_id = turn.session_id
        elif event.place is None:
            return
        else:
            session_id = event.place.session_id
        session = await self._sessions.get(event.user_id, session_id)
        if session is not None:
            await self._news.updated(event.user_id, session.to_session(), event.completion_id)
