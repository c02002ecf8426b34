"""Cancel any completion of a user's from any gateway, and say plainly what came of it.

Who takes a request out of the queue owns its end, whichever gateway queued it. What a worker has,
or had until it died, is a worker's to end: the tombstone stands until then.
"""

import asyncio
from enum import StrEnum
from typing import Final, NamedTuple

import structlog

from services.api.background import Background
from services.api.completions.cancelling import Cancelling
from services.api.completions.orphans import Orphans
from services.api.completions.terminals import Terminals
from services.api.ports.broker import Clock, Heard, Journal
from services.api.ports.queue import QueueNotes, Waiting
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId, UserId, is_completion_id
from shared.errors import BrokerUnavailable, Cancelled, CompletionNotFound

log = structlog.stdlib.get_logger(__name__)

CANCEL_ANSWER: Final = 2.0
"""Seconds that a cancel waits for the end before it answers that it is under way."""
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.2


class CancelStatus(StrEnum):
    """How a completion stands after a cancel."""

    CANCELLING = "cancelling"
    """It will end; its worker has not said so yet."""
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


class CancelOutcome(NamedTuple):
    """What came of a cancel."""

    completion_id: CompletionId
    status: CancelStatus
    already_ended: bool
    """It had ended before this cancel came: nothing was done."""
    end: CompletionCompleted | None


class Cancellations:
    """The use case; any number of cancels of one completion have one outcome."""

    def __init__(
        self,
        cancelling: Cancelling,
        notes: QueueNotes,
        terminals: Terminals,
        journal: Journal,
        orphans: Orphans,
        background: Background,
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        """Wire the use case.

        Args:
            cancelling: Tombstones and workers.
            notes: Where requests are in the queue.
            terminals: Records the ends of what is withdrawn.
            journal: Who asked for what, and how it ended.
            orphans: Ends what is not in the queue, and nobody has.
            background: A cancel is carried out also when its client goes away.
            clock: For the patience.
            patience: Seconds in which the end may be recorded before the answer is "cancelling".
        """
        self._cancelling = cancelling
        self._notes = notes
        self._terminals = terminals
        self._journal = journal
        self._orphans = orphans
        self._background = background
        self._clock = clock
        self._patience = patience
        self._running: dict[CompletionId, asyncio.Task[CompletionCompleted | None]] = {}

    async def cancel(self, user_id: UserId, completion_id: str) -> CancelOutcome:
        """Cancel a completion of ``user_id``.

        Raises:
            CompletionNotFound: malformed, unknown, or another user's: all alike.
            BrokerUnavailable: the broker is away; nothing may have been done.
        """
        accepted = await self._accepted(completion_id)
        if accepted is None or accepted.user_id != user_id:
            raise no_such_completion()
        return await self.stop(accepted.completion_id)

    async def stop(self, completion_id: CompletionId, *, asked: bool = True) -> CancelOutcome:
        """Cancel without asking whose it is: the caller knows.

        ``asked`` says that its user wants it so: a repeat with its key gets the same end then.

        Raises:
            BrokerUnavailable: the broker is away; nothing may have been done.
        """
        task = self._running.get(completion_id)
        if task is None:
            end = await self._journal.completed(completion_id)
            if end is not None:
                return CancelOutcome(completion_id, _status_of(end), already_ended=True, end=end)
            task = self._running.get(completion_id) or self._begin(completion_id, asked=asked)
        # A flood of cancels of one completion is one cancel.
        end = await asyncio.shield(task)
        status = _status_of(end) if end is not None else CancelStatus.CANCELLING
        return CancelOutcome(completion_id, status, already_ended=False, end=end)

    async def _accepted(self, completion_id: str) -> CompletionAccepted | None:
        if not is_completion_id(completion_id):
            return None
        return await self._journal.accepted(CompletionId(completion_id))

    def _begin(
        self, completion_id: CompletionId, *, asked: bool
    ) -> asyncio.Task[CompletionCompleted | None]:
        stop = self._stop(completion_id, asked=asked)
        task = self._background.spawn(stop, f"cancel-{completion_id}")
        self._running[completion_id] = task
        task.add_done_callback(lambda _done: self._running.pop(completion_id, None))
        return task

    async def _stop(
        self, completion_id: CompletionId, *, asked: bool
    ) -> CompletionCompleted | None:
        until = self._clock.monotonic() + self._patience
        heard = await self._cancelling.tell(completion_id, asked=asked)
        pause = _FIRST_PAUSE
        while True:
            try:
                if heard is Heard.NOBODY:
                    end = await self._withdraw(completion_id)
                    if end is not None:
                        return end
                end, late = await self._look(completion_id, until)
                if end is not None or late:
                    return end
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                if heard is not Heard.YES:
                    # It was between two hands, or is only now being queued.
                    heard = await self._cancelling.tell_worker(completion_id)
            except BrokerUnavailable:
                if self._clock.monotonic() >= until:
                    return None
                await asyncio.sleep(pause)

    async def _withdraw(self, completion_id: CompletionId) -> CompletionCompleted | None:
        waiting = await self._notes.find(completion_id)
        return await self._take_out(completion_id, waiting) if waiting is not None else None

    async def _look(
        self, completion_id: CompletionId, until: float
    ) -> tuple[CompletionCompleted | None, bool]:
        end = await self._journal.completed(completion_id)
        late = self._clock.monotonic() >= until
        if end is None and late:
            end = await self._end_unheard(completion_id)
        return end, late

    async def _end_unheard(self, completion_id: CompletionId) -> CompletionCompleted | None:
        accepted = await self._journal.accepted(completion_id)
        if accepted is None or await self._notes.waits(completion_id):
            # Its request may still come, and meets the tombstone; or it is a worker's to end.
            return None
        end = await self._orphans.cancel(accepted)
        if end is None and await self._cancelling.tell_worker(completion_id) is Heard.NOBODY:
            # Its note got lost.
            waiting = await self._notes.search(accepted)
            end = await self._take_out(completion_id, waiting) if waiting is not None else None
        return end

    async def _take_out(
        self, completion_id: CompletionId, waiting: Waiting
    ) -> CompletionCompleted | None:
        if waiting.begun:
            return None
        if not await self._cancelling.withdraw(waiting.number, completion_id):
            return None
        log.info("request_withdrawn", completion_id=completion_id)
        error = Cancelled("The completion was cancelled before a worker was free.")
        end = self._terminals.make(waiting.command, CompletionStatus.CANCELLED, error)
        return await self._terminals.record_owed(end, waiting.command.reply_subject)


def no_such_completion() -> CompletionNotFound:
    """The one answer for what is unknown and for what is none of the asker's business."""
    return CompletionNotFound("This completion does not exist.", param="id")


def _status_of(end: CompletionCompleted) -> CancelStatus:
    match end.status:
        case CompletionStatus.COMPLETED:
            return CancelStatus.COMPLETED
        case CompletionStatus.CANCELLED:
            return CancelStatus.CANCELLED
        case _:
            return CancelStatus.FAILED
