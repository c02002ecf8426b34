"""One admitted completion on its way to its end: deadlines, the end's bookkeeping, abandoning."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.cancelling import Cancelling
from services.api.completions.draining import Drain
from services.api.completions.orphans import Orphans
from services.api.completions.queue_watch import QueueWatch
from services.api.completions.queued import Queued
from services.api.completions.seating import Seat, Seating
from services.api.completions.terminals import Terminals
from services.api.limits.limits import Permit
from services.api.ports.broker import Clock, Journal, Mailboxes, Queue
from services.api.ports.mailbox import Mailbox
from services.api.ports.queue import QueueNotes
from services.api.ports.queue_news import QueueNews
from services.api.streams.lingering import Lingering
from services.api.streams.resending import Resending
from services.api.streams.steps import Reader, Step
from services.api.streams.watching import Watching
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.errors import BrokerUnavailable, DeadlineExceeded, ServerShutdown

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Desk:
    """What every running completion needs, once per gateway."""

    mailboxes: Mailboxes
    journal: Journal
    queue: Queue
    notes: QueueNotes
    line: QueueWatch
    seating: Seating
    terminals: Terminals
    orphans: Orphans
    cancelling: Cancelling
    background: Background
    drain: Drain
    clock: Clock
    watching: Watching
    lingering: Lingering
    resending: Resending
    announcing: Announcing


class Running:
    """A completion between its admission and its end, with one reader."""

    def __init__(
        self,
        desk: Desk,
        command: RunCompletion,
        *,
        mailbox: Mailbox,
        reader: Reader,
        queued: Queued,
        seat: Seat | None,
        permit: Permit,
        overall: float,
        resumable: bool,
        reconnects: bool,
        on_end: Callable[[], None],
    ) -> None:
        """Follow a queued request.

        Args:
            desk: The gateway's parts.
            command: What was queued.
            mailbox: Where its frames arrive.
            reader: Who reads them.
            queued: Its time in the queue.
            seat: Its place in a session.
            permit: Its place among what its caller may run at once.
            overall: Monotonic time after which nobody waits any more.
            resumable: It goes on for a grace when its client has gone.
            reconnects: Its client comes back by itself when the stream ends without an end.
            on_end: Called once when it has ended, also when it was abandoned.
        """
        self.command = command
        self.begun = False
        """Whether an engine may have worked on it."""
        self.levels = permit.levels
        self._desk = desk
        self._mailbox = mailbox
        self._reader = reader
        self._queued = queued
        queued.call_on_news(self.wake)
        self._seat = seat
        self._permit = permit
        self._overall = overall
        self._resumable = resumable
        self._reconnects = reconnects
        self._on_end = on_end
        self._over = False
        self._told_to_stop = False
        desk.drain.enter(self.wake)
        desk.watching.enter(command.completion_id)

    def wake(self) -> None:
        """Let ``next`` return and look around."""
        self._mailbox.wake()

    @property
    def queue_news(self) -> QueueNews | None:
        """How it stands in the queue, while it waits there and that is known."""
        return self._queued.news

    async def next(self, until: float) -> Step:
        """The next bytes, the end, or nothing once it is ``until`` or somebody has woken it.

        Raises:
            ServerShutdown: this process cannot wait any longer.
            DeadlineExceeded: nothing came of it within all deadlines.
            WorkerLost: what was sent cannot be continued.
        """
        if self._told_to_stop:
            # Also when a fast worker always has something to relay.
            self._look_at_the_clock()
        self._told_to_stop = self._must_stop
        if not self._told_to_stop:
            await self._mailbox.wait(min(until, self._reader.due(), self._next_deadline))
        step = await self._step()
        if not step.data and step.end is None:
            self._look_at_the_clock()
        return step

    def abandon(self) -> None:
        """Nobody waits for it any more: see to its end in the background.

        A plain one is cancelled; a resumable one only after a grace in which nobody came back.
        """
        if self._over:
            return
        self._depart()
        if self._reconnects and self._must_stop:
            self._hand_on()
            return
        self._mailbox.relay_no_more()
        self._desk.background.spawn(self._see_it_end(), f"abandon-{self.command.completion_id}")

    @property
    def _next_deadline(self) -> float:
        return min(self._queued.due(), self._overall)

    @property
    def _must_stop(self) -> bool:
        drain = self._desk.drain
        return drain.cut or (drain.begun and self._reconnects)

    def _depart(self) -> None:
        self._over = True
        self._queued.leave()
        self._desk.drain.leave(self.wake)
        self._desk.watching.leave(self.command.completion_id)

    def _hand_on(self) -> None:
        # Its client goes on at another gateway, which keeps the session from there on; until
        # then, and if nobody comes, the lease lives for its 15 s.
        self._clear()
        self._permit.forget()
        if self._seat is not None:
            self._desk.seating.forget(self._seat)

    async def _step(self) -> Step:
        step = await self._reader.step()
        self.begun = self.begun or self._mailbox.heard
        if step.end is None:
            step = Step(step.data, await self._queued.expire())
        if step.end is not None:
            await self._finish(step.end)
        return step

    def _look_at_the_clock(self) -> None:
        if self._must_stop:
            message = "This gateway is stopping and could not wait for the rest of the answer."
            raise ServerShutdown(message)
        if self._desk.clock.monotonic() >= self._overall:
            message = "Nothing came of this completion within all its deadlines."
            raise DeadlineExceeded(message)

    async def _finish(self, end: CompletionCompleted) -> None:
        # Before the client hears of the end: its next message and its next read rely on it.
        if self._over:
            return
        self._depart()
        self._clear()
        # In the background, as who reads may go away in the middle of it.
        await asyncio.shield(self._desk.background.spawn(self._settle(end), "settle"))

    async def _settle(self, end: CompletionCompleted) -> None:
        await asyncio.gather(self._permit.end(end), self._leave_session(end))

    async def _leave_session(self, end: CompletionCompleted) -> None:
        if self._seat is None:
            return
        seating, journal = self._desk.seating, self._desk.journal
        try:
            # An end frame has no text, and the next turn is placed by the digest of it.
            whole = await journal.completed(self.command.completion_id) or end
            await seating.leave(self._seat, whole)
        except BrokerUnavailable:
            self._desk.background.spawn(seating.leave_patiently(self._seat, end), "leave-session")

    def _clear(self) -> None:
        self._desk.mailboxes.remove(self.command.completion_id, self._mailbox)
        self._mailbox.close()
        self._on_end()

    async def _see_it_end(self) -> None:
        try:
            end = await self._linger() if self._resumable else await self._cancel()
        except BaseException:
            # This process stops halfway: the lease runs out, and the session stays busy for as long
            # as its worker may still be at it. Kept here it would be renewed for ever.
            self._hand_on()
            raise
        self._clear()
        await self._permit.end(end)
        if self._seat is not None:
            await self._desk.seating.leave_patiently(self._seat, end)

    async def _linger(self) -> CompletionCompleted | None:
        lingering, completion_id = self._desk.lingering, self.command.completion_id
        end, forsaken = await lingering.wait(completion_id, self._mailbox, self._overall)
        if not forsaken:
            return end or await self._await_end()
        log.info("completion_forsaken", completion_id=completion_id)
        return await self._cancel()

    async def _cancel(self) -> CompletionCompleted | None:
        return await self._queued.cancel() or await self._await_end()

    async def _await_end(self) -> CompletionCompleted | None:
        while True:
            end = await self._desk.lingering.end_of(
                self.command.completion_id, self._mailbox, self._next_deadline
            )
            end = end or await self._queued.expire()
            if end is not None or self._desk.clock.monotonic() >= self._overall:
                return end
