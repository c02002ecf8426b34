"""The time that a request may wait in the queue: timed by the gateway that put it there."""

import math
from collections.abc import Callable
from typing import Final

from services.api.background import Background
from services.api.completions.cancelling import Cancelled as Outcome
from services.api.completions.cancelling import Cancelling
from services.api.completions.queue_watch import Ticket
from services.api.completions.terminals import Terminals
from services.api.ports.broker import Clock, Queue
from services.api.ports.mailbox import Mailbox
from services.api.ports.queue import QueueNotes
from services.api.ports.queue_news import QueueNews
from services.api.streams.vanishing import Vanishing
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.errors import BrokerUnavailable, Cancelled, DeadlineExceeded, WorkerLost

_RETRY: Final = 1.0


class Queued:
    """One request in the queue, until somebody is heard to have taken it."""

    def __init__(
        self,
        command: RunCompletion,
        number: int,
        deadline: float,
        *,
        ticket: Ticket | None,
        vanishing: Vanishing,
        mailbox: Mailbox,
        queue: Queue,
        notes: QueueNotes,
        terminals: Terminals,
        cancelling: Cancelling,
        background: Background,
        clock: Clock,
    ) -> None:
        """It has just been queued.

        Args:
            command: What was queued.
            number: Its place in the queue.
            deadline: Monotonic time until which it may wait unheard.
            ticket: Where it hears how it stands, if somebody wants to know.
            vanishing: Whether the broker has lost it.
            mailbox: Where a worker is heard.
            queue: Where it waits.
            notes: Whether anything was sent in answer to it.
            terminals: Records its end, if it waits too long.
            cancelling: Stops who has taken it unheard.
            background: For what nobody must wait for.
            clock: For the deadline.
        """
        self._command = command
        self.number = number
        self._deadline = deadline
        self._ticket = ticket
        self._vanishing = vanishing
        self._mailbox = mailbox
        self._queue = queue
        self._notes = notes
        self._terminals = terminals
        self._cancelling = cancelling
        self._background = background
        self._clock = clock

    @property
    def news(self) -> QueueNews | None:
        """How it stands, as far as that is known."""
        return self._ticket.news if self._ticket is not None else None

    def call_on_news(self, call: Callable[[], None]) -> None:
        """Call ``call`` whenever ``news`` is new."""
        if self._ticket is not None:
            self._ticket.on_change = call

    def leave(self) -> None:
        """It waits no longer, or nobody wants to know how long."""
        if self._ticket is not None:
            self._ticket.leave()

    def due(self) -> float:
        """When to call ``expire``."""
        return min(self._waits_until, self._vanishing.due())

    @property
    def _waits_until(self) -> float:
        return math.inf if self._mailbox.heard else self._deadline

    async def expire(self) -> CompletionCompleted | None:
        """The end of a request that has waited too long or was lost; ``None`` while it was not."""
        if self._mailbox.heard:
            self.leave()
        if await self._vanishing.happened():
            lost = WorkerLost("The message broker has lost this request; send it again.")
            end = self._terminals.make(self._command, CompletionStatus.FAILED, lost)
            return await self._terminals.record(end, self._command.reply_subject)
        if self._clock.monotonic() < self._waits_until:
            return None
        try:
            withdrawn = not await self._begun() and await self._queue.withdraw(
                self.number, self._command.completion_id
            )
        except BrokerUnavailable:
            self._deadline = self._clock.monotonic() + _RETRY
            return None
        self._deadline = math.inf
        if not withdrawn:
            # A worker has taken it: from here on its clock counts.
            return None
        error = DeadlineExceeded("The request waited too long for a free worker.")
        end = self._terminals.make(self._command, CompletionStatus.EXPIRED, error)
        end = await self._terminals.record(end, self._command.reply_subject)
        # The broker lets us withdraw what a worker holds unheard: make that worker stop.
        mark = self._cancelling.mark(self._command.completion_id)
        self._background.spawn(mark, "mark-expired")
        return end

    async def _begun(self) -> bool:
        # Unheard: it may have begun while this gateway had lost the broker.
        waiting = await self._notes.find(self._command.completion_id)
        return waiting is not None and waiting.begun

    async def cancel(self) -> CompletionCompleted | None:
        """Cancel it wherever it is: gives its end if it was taken out of the queue."""
        # What a worker has begun to say is kept with the end, which its successor writes then.
        try:
            begun = self._mailbox.heard or await self._begun()
        except BrokerUnavailable:
            # The tombstone ends it as soon as a worker has it.
            begun = True
        number = None if begun else self.number
        outcome = await self._cancelling.cancel(self._command.completion_id, number)
        if outcome is not Outcome.WITHDRAWN:
            return None
        error = Cancelled("The client went away before a worker was free.")
        end = self._terminals.make(self._command, CompletionStatus.CANCELLED, error)
        await self._terminals.record_patiently(end, self._command.reply_subject)
        return end
