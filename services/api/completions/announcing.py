"""Tell the sockets of all gateways what happens in sessions; nobody waits for it.

What changes a session is told by history, which stores it.
"""

import structlog

from services.api.background import Background
from services.api.ports.live import Live
from services.api.ports.queue_news import QueueNews
from shared.contracts.events import CompletionAccepted
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.live import LiveEvent
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)


class Announcing:
    """What is lost on the way is read again: sockets look for themselves after a reconnect."""

    def __init__(self, live: Live, background: Background) -> None:
        self._live = live
        self._background = background

    @property
    def gateway_id(self) -> str:
        """The origin of what this gateway says."""
        return self._live.gateway_id

    async def turn_started(self, accepted: CompletionAccepted) -> None:
        """Before its request is queued, so that nobody hears an answer before its question."""
        if accepted.turn is None:
            return
        event = LiveEvent(
            type="turn_started",
            session_id=accepted.turn.session_id,
            origin=self.gateway_id,
            completion_id=accepted.completion_id,
            title=accepted.turn.title,
        )
        await self.say(accepted.user_id, event)

    def deleted(self, user_id: UserId, session_id: SessionId) -> None:
        """A session was gone before: who has told of it then may have been cut off behind it."""
        event = LiveEvent(type="session_deleted", session_id=session_id, origin=self.gateway_id)
        self._background.spawn(self.say(user_id, event), "announce-session")

    def queued(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId, news: QueueNews
    ) -> None:
        """A turn that was asked for here waits."""
        event = LiveEvent(
            type="queued", session_id=session_id, origin=self.gateway_id,
            completion_id=completion_id,
            position=news.position, estimated_wait_ms=news.estimated_wait_ms,
        )  # fmt: skip
        self._background.spawn(self.say(user_id, event), "announce-queued")

    async def present(
        self, user_id: UserId, session_id: SessionId, participants: int, *, asks: bool
    ) -> None:
        """How many sockets of a session are open here."""
        event = LiveEvent(
            type="present", session_id=session_id, origin=self.gateway_id,
            participants=participants, asks=asks,
        )  # fmt: skip
        await self.say(user_id, event)

    async def say(self, user_id: UserId, event: LiveEvent) -> None:
        """Anything else."""
        try:
            await self._live.say(user_id, event)
        except BrokerUnavailable:
            log.debug("not_announced", type=event.type, session_id=event.session_id)
        except Exception:
            # It is said between the two facts of a completion, and must not keep the second away.
            log.exception("not_announced", type=event.type, session_id=event.session_id)
