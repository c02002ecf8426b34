"""Answers that were begun elsewhere or earlier: how they stand, and their streams."""

from typing import Final

import structlog

from services.api.completions.followed import Followed
from services.api.completions.guests import Guests
from services.api.completions.orders import Patience
from services.api.completions.running import Desk
from services.api.ports.broker import FrameLog
from services.api.ports.mailbox import Mailbox
from services.api.ports.viewers import Feeds
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import from_the_future
from services.api.streams.relay import Relay
from services.api.streams.standing import SoFar, Standing
from services.api.streams.steps import Step
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId, UserId, is_completion_id
from shared.errors import BrokerUnavailable, CompletionNotFound

log = structlog.stdlib.get_logger(__name__)

_UNDER_WAY: Final = 1.0
"""Seconds in which an event that a client claims to have may still arrive here."""
_CATCH_UP: Final = 10.0
_GRACE: Final = 30.0


class Following:
    """The use case: from the name of a completion to what it says."""

    def __init__(
        self, desk: Desk, *, feeds: Feeds, frames: FrameLog, guests: Guests, patience: Patience
    ) -> None:
        self._desk = desk
        self._feeds = feeds
        self._frames = frames
        self._guests = guests
        self._patience = patience

    async def find(self, user_id: UserId, completion_id: str) -> CompletionAccepted:
        """What was taken on for this user.

        Raises:
            CompletionNotFound: unknown, malformed, no longer kept or another's, all alike.
            BrokerUnavailable: no answer.
        """
        if is_completion_id(completion_id):
            accepted = await self._desk.journal.accepted(CompletionId(completion_id))
            if accepted is not None and accepted.user_id == user_id:
                return accepted
        raise CompletionNotFound("This completion does not exist.", param="id")

    async def standing(self, accepted: CompletionAccepted) -> Standing:
        """How it stands now.

        Raises:
            BrokerUnavailable: no answer.
        """
        so_far, completion_id = SoFar(), accepted.completion_id
        end = await self._desk.journal.completed(completion_id)
        if end is None:
            async for _, frame in self._frames.replay(completion_id, 1):
                so_far.add(frame)
            # It may have ended meanwhile, and its last frames be among those that were read.
            end = await self._desk.journal.completed(completion_id)
        return so_far.standing(end)

    async def follow(
        self, accepted: CompletionAccepted, delivery: Delivery, after: int
    ) -> Followed | None:
        """Its events after ``after``, those that are kept and those that come.

        Nothing is missed between the two: listening begins before the log is read.

        Args:
            accepted: What ``find`` gave.
            delivery: How they are given; leaves out what the reader has.
            after: The index of the last event that the reader has, -1 for none.

        Returns:
            ``None`` if it is over and the reader has all of it.

        Raises:
            InvalidRequest: ``after`` is no event of it yet.
            FramesGone: from there on, it is no longer kept.
            ServerShutdown: this gateway is stopping.
            BrokerUnavailable: no answer.
        """
        with self._desk.drain.admitting():
            clock, completion_id = self._desk.clock, accepted.completion_id
            mailbox = Mailbox(self._patience.mailbox_bytes, clock=clock.monotonic)
            relay = self._relay(completion_id, mailbox, delivery)
            feed = await self._feeds.follow(completion_id, mailbox, relay.alarm)
            try:
                first = await self._position(relay, mailbox, after)
            except BaseException:
                await feed.close()
                mailbox.close()
                raise
            if first is None:
                await feed.close()
                mailbox.close()
                return None
            return Followed(
                self._desk,
                accepted,
                guests=self._guests,
                feed=feed,
                mailbox=mailbox,
                relay=relay,
                first=first,
                overall=clock.monotonic() + accepted.overdue_after_s + _GRACE,
            )

    def _relay(self, completion_id: CompletionId, mailbox: Mailbox, delivery: Delivery) -> Relay:
        return Relay(
            completion_id,
            mailbox,
            delivery,
            frames=self._frames,
            journal=self._desk.journal,
            clock=self._desk.clock,
            resend=self._desk.resending.of(completion_id),
            silence=self._patience.silence,
            batch=self._patience.mailbox_bytes,
            late=True,
        )

    async def _position(self, relay: Relay, mailbox: Mailbox, after: int) -> Step | None:
        """Read up to ``after``; the first step beyond it, or ``None`` where nothing follows."""
        if after < 0:
            return Step(b"", None)
        clock = self._desk.clock
        until, caught_up = clock.monotonic() + _CATCH_UP, False
        while True:
            step = await relay.step()
            if step.end is not None and after >= _events(step.end, relay.position):
                return None
            if step.end is not None or step.data or relay.position > after:
                return step
            now = clock.monotonic()
            if relay.caught_up and not caught_up:
                caught_up, until = True, now + _UNDER_WAY
            if now >= until:
                if caught_up:
                    raise from_the_future(after)
                raise BrokerUnavailable("The stream could not be read; try again in a moment.")
            await mailbox.wait(min(relay.due(), until))


def _events(end: CompletionCompleted, relayed: int) -> int:
    # Who ended it for somebody else may not have known how far it came.
    good = end.status is CompletionStatus.COMPLETED
    return end.events if good else max(end.events, relayed)
