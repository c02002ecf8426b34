"""One viewer of an answer that was begun elsewhere or earlier."""

import math

from services.api.completions.guests import Guests
from services.api.completions.orphans import OWED
from services.api.completions.running import Desk
from services.api.limits.quota import Levels
from services.api.ports.mailbox import Mailbox
from services.api.ports.queue_news import QueueNews
from services.api.ports.viewers import Listening
from services.api.streams.relay import Relay
from services.api.streams.steps import Step
from shared.contracts.events import CompletionAccepted
from shared.errors import DeadlineExceeded, ServerShutdown


class Followed:
    """Reads on until the end, or until its viewer leaves; no other viewer notices either."""

    def __init__(
        self,
        desk: Desk,
        accepted: CompletionAccepted,
        *,
        guests: Guests,
        feed: Listening,
        mailbox: Mailbox,
        relay: Relay,
        first: Step,
        overall: float,
    ) -> None:
        """Somebody watches from now on.

        Args:
            desk: The gateway's parts.
            accepted: What was taken on.
            guests: Told when this viewer comes and goes.
            feed: Fills the mailbox; closed with the last word.
            mailbox: Where frames arrive.
            relay: Who reads them.
            first: What it has read already.
            overall: Monotonic time after which nobody waits any more.
        """
        self._desk = desk
        self._accepted = accepted
        self._guests = guests
        self._feed = feed
        self._mailbox = mailbox
        self._relay = relay
        self._first: Step | None = first
        self._overall = overall
        self._owed = desk.clock.monotonic() + OWED
        """When somebody must have it, if nothing is heard of it."""
        self._over = False
        desk.drain.enter(self.wake)
        guests.enter(accepted)

    def wake(self) -> None:
        """Let ``next`` return and look around."""
        self._mailbox.wake()

    @property
    def begun(self) -> bool:
        """Whether an engine may have worked on it: nobody knows here."""
        return True

    @property
    def levels(self) -> Levels | None:
        """It has started nothing."""
        return None

    @property
    def queue_news(self) -> QueueNews | None:
        """Only the gateway that has queued it knows."""
        return None

    async def next(self, until: float) -> Step:
        """The next bytes, the end, or nothing once it is ``until`` or somebody has woken it.

        Raises:
            ServerShutdown: this process is stopping; the viewer goes on at another one.
            DeadlineExceeded: nothing came of it within all deadlines.
            WorkerLost: what was sent cannot be continued.
            FramesGone: what the viewer lacks is not kept.
        """
        step, self._first = self._first, None
        if step is None:
            if self._desk.drain.begun:
                raise ServerShutdown("This gateway is stopping; go on at another one.")
            due = min(until, self._relay.due(), self._overall, self._owed)
            await self._mailbox.wait(due)
            step = await self._relay.step()
            self._see_whose_it_is()
        if step.end is not None and not self._over:
            self._over = True
            self._desk.drain.leave(self.wake)
            await self._feed.close()
            self._mailbox.close()
            await self._guests.ended(self._accepted, step.end)
        elif not step.data and self._desk.clock.monotonic() >= self._overall:
            message = "Nothing came of this completion within all its deadlines."
            raise DeadlineExceeded(message)
        return step

    def abandon(self) -> None:
        """The viewer has left, or there was nothing more to say."""
        if self._over:
            return
        self._over = True
        self._desk.drain.leave(self.wake)
        self._mailbox.relay_no_more()
        self._desk.background.spawn(self._see_to_it(), "viewer-left")

    def _see_whose_it_is(self) -> None:
        if self._mailbox.heard or self._relay.position:
            self._owed = math.inf
            return
        now = self._desk.clock.monotonic()
        if now >= self._owed:
            self._owed = now + OWED
            # Readers everywhere hear of the end that it may give.
            self._desk.background.spawn(self._desk.orphans.end(self._accepted), "end-orphan")

    async def _see_to_it(self) -> None:
        try:
            await self._guests.left(self._accepted, self._mailbox, self._overall)
        finally:
            await self._feed.close()
            self._mailbox.close()
