"""One admitted completion on its way to its end: deadlines, the end's bookkeeping, abandoning."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from services.api.background import Background
from services.api.cancelling import Cancelled, Cancelling
from services.api.draining import Drain
from services.api.mailbox import Mailbox
from services.api.ports import Clock, Journal, Mailboxes, Queue
from services.api.seating import Seat, Seating
from services.api.steps import Step
from services.api.terminals import Terminals
from services.api.whole import WholeAnswer
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.errors import BrokerUnavailable, ChatError, DeadlineExceeded, ServerShutdown
from shared.errors import Cancelled as CancelledError

log = structlog.stdlib.get_logger(__name__)

_RETRY: Final = 1.0


class Reader(Protocol):
    """What reads the frames of this completion: ``Relay`` or ``WholeAnswer``."""

    def alarm(self) -> None:
        """Frames may have been lost."""
        ...

    def due(self) -> float:
        """When to call ``step`` if no frame comes."""
        ...

    async def step(self) -> Step:
        """What there is now."""
        ...


@dataclass(frozen=True)
class Desk:
    """What every running completion needs, once per gateway."""

    mailboxes: Mailboxes
    journal: Journal
    queue: Queue
    seating: Seating
    terminals: Terminals
    cancelling: Cancelling
    background: Background
    drain: Drain
    clock: Clock
    silence: float


class Running:
    """A completion between its admission and its end, with one reader."""

    def __init__(
        self,
        desk: Desk,
        command: RunCompletion,
        *,
        mailbox: Mailbox,
        reader: Reader,
        number: int,
        seat: Seat | None,
        waiting: float,
        overall: float,
        on_end: Callable[[], None],
    ) -> None:
        """Follow a queued request.

        Args:
            desk: The gateway's parts.
            command: What was queued.
            mailbox: Where its frames arrive.
            reader: Who reads them.
            number: Its place in the queue.
            seat: Its place in a session.
            waiting: Monotonic time until which it may wait unheard.
            overall: Monotonic time after which nobody waits any more.
            on_end: Called once when it has ended, also when it was abandoned.
        """
        self.command = command
        self.begun = False
        """Whether an engine may have worked on it."""
        self._desk = desk
        self._mailbox = mailbox
        self._reader = reader
        self._number = number
        self._seat = seat
        self._waiting: float | None = waiting
        self._overall = overall
        self._on_end = on_end
        self._over = False
        self._told_to_stop = False
        desk.drain.enter(self.wake)

    def wake(self) -> None:
        """Let ``next`` return and look around."""
        self._mailbox.wake()

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
        self._told_to_stop = self._desk.drain.cut
        if not self._told_to_stop:
            await self._mailbox.wait(min(until, self._reader.due(), self._next_deadline()))
        step = await self._step()
        if not step.data and step.end is None:
            self._look_at_the_clock()
        return step

    def abandon(self) -> None:
        """Nobody waits for it any more: cancel it, and see to its end in the background."""
        if self._over:
            return
        self._over = True
        self._desk.drain.leave(self.wake)
        self._mailbox.relay_no_more()
        self._desk.background.spawn(self._see_it_end(), f"abandon-{self.command.completion_id}")

    async def _step(self) -> Step:
        step = await self._reader.step()
        self.begun = self.begun or self._mailbox.heard
        if step.end is None and not self._mailbox.heard and self._waited_too_long():
            expired = await self._expire()
            step = Step(step.data, expired)
        if step.end is not None:
            await self._finish(step.end)
        return step

    def _waited_too_long(self) -> bool:
        return self._waiting is not None and self._desk.clock.monotonic() >= self._waiting

    def _next_deadline(self) -> float:
        if self._waiting is None or self._mailbox.heard:
            return self._overall
        return min(self._waiting, self._overall)

    def _look_at_the_clock(self) -> None:
        if self._desk.drain.cut:
            message = "This gateway is stopping and could not wait for the rest of the answer."
            raise ServerShutdown(message)
        if self._desk.clock.monotonic() >= self._overall:
            message = "Nothing came of this completion within all its deadlines."
            raise DeadlineExceeded(message)

    async def _expire(self) -> CompletionCompleted | None:
        try:
            completion_id = self.command.completion_id
            withdrawn = await self._desk.queue.withdraw(self._number, completion_id)
        except BrokerUnavailable:
            self._waiting = self._desk.clock.monotonic() + _RETRY
            return None
        self._waiting = None
        if not withdrawn:
            # A worker has just taken it: from here on its clock counts.
            return None
        error = DeadlineExceeded("The request waited too long for a free worker.")
        end = self._desk.terminals.make(self.command, CompletionStatus.EXPIRED, error)
        await self._desk.terminals.record(end)
        # The broker lets us withdraw what a worker holds unheard: make that worker stop.
        mark = self._desk.cancelling.mark(self.command.completion_id)
        self._desk.background.spawn(mark, "mark-expired")
        return end

    async def _finish(self, end: CompletionCompleted) -> None:
        # Before the client hears of the end: its next message and its next read rely on it.
        if self._over:
            return
        self._over = True
        self._desk.drain.leave(self.wake)
        self._clear()
        if self._seat is not None:
            try:
                await self._desk.seating.leave(self._seat, await self._whole(end))
            except BrokerUnavailable:
                leave = self._desk.seating.leave_patiently(self._seat, end)
                self._desk.background.spawn(leave, "leave-session")

    async def _whole(self, end: CompletionCompleted) -> CompletionCompleted:
        # An end frame has no text, and the next turn is placed by the digest of it.
        whole = await self._desk.journal.completed(self.command.completion_id)
        return whole or end

    def _clear(self) -> None:
        self._desk.mailboxes.remove(self.command.completion_id)
        self._mailbox.close()
        self._on_end()

    async def _see_it_end(self) -> None:
        try:
            end = await self._cancel()
        finally:
            self._clear()
        # Not when this process stops halfway: then the lease runs out, and the session stays busy
        # for as long as its worker may still be at it.
        if self._seat is not None:
            await self._desk.seating.leave_patiently(self._seat, end)

    async def _cancel(self) -> CompletionCompleted | None:
        outcome = await self._desk.cancelling.cancel(self.command.completion_id, self._number)
        if outcome is not Cancelled.WITHDRAWN:
            return await self._await_end()
        error = CancelledError("The client went away before a worker was free.")
        end = self._desk.terminals.make(self.command, CompletionStatus.CANCELLED, error)
        await self._desk.terminals.record_patiently(end)
        return end

    async def _await_end(self) -> CompletionCompleted | None:
        reader = WholeAnswer(
            self.command.completion_id,
            self._mailbox,
            journal=self._desk.journal,
            clock=self._desk.clock,
            silence=self._desk.silence,
        )
        with suppress(ChatError):
            while self._desk.clock.monotonic() < self._overall:
                step = await reader.step()
                if step.end is not None:
                    return step.end
                await self._mailbox.wait(min(reader.due(), self._overall))
        return None
