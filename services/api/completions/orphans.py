"""Ends what somebody took on and nobody has: its gateway died before the request was queued.

A request stays in the queue until it is acknowledged, which is after its end. So what has no end
and is not in the queue is nobody's, unless its gateway is only slow: then its request comes too
late, and the worker that takes it finds the end that stands, before it asks an engine.
"""

from typing import Final

import structlog

from services.api.completions.terminals import Terminals
from services.api.ports.broker import Heard, Workers
from services.api.ports.queue import QueueNotes
from shared.contracts import subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.errors import BrokerUnavailable, Cancelled, ChatError, WorkerLost

log = structlog.stdlib.get_logger(__name__)

OWED: Final = 15.0
"""Seconds within which who takes a completion on has queued it, has refused it, or is dead."""

_SLACK: Final = 1.0
"""Seconds between the entry of a turn, which callers go by, and ``accepted``."""


class Orphans:
    """The use case; any gateway may do so, the first writer wins."""

    def __init__(self, notes: QueueNotes, workers: Workers, terminals: Terminals) -> None:
        self._notes = notes
        self._workers = workers
        self._terminals = terminals

    async def end(self, accepted: CompletionAccepted) -> CompletionCompleted | None:
        """End it as failed; to be called when it is ``OWED`` seconds old.

        Returns:
            The end that stands now; ``None`` if somebody may have it, or nobody knows.
        """
        message = "This message was lost before it was queued; send it again."
        try:
            if await self._notes.age(accepted) < OWED - _SLACK:
                # The caller's clock is ahead: its gateway may be about to queue it.
                return None
            return await self._close(accepted, CompletionStatus.FAILED, WorkerLost(message))
        except BrokerUnavailable:
            return None

    async def cancel(self, accepted: CompletionAccepted) -> CompletionCompleted | None:
        """End it as cancelled, under a tombstone that stands.

        Raises:
            BrokerUnavailable: nobody knows whether somebody has it, or whether its end is recorded.
        """
        error = Cancelled("The completion was cancelled before a worker was free.")
        return await self._close(accepted, CompletionStatus.CANCELLED, error)

    async def _close(
        self, accepted: CompletionAccepted, status: CompletionStatus, error: ChatError
    ) -> CompletionCompleted | None:
        # One of an older version does not say it: readers hear every gateway's.
        unknown = subjects.chunks("unknown", accepted.completion_id)
        reply_subject = accepted.reply_subject or unknown
        if await self._somebody_has(accepted, reply_subject):
            return None
        log.warning("completion_orphaned", completion_id=accepted.completion_id, status=status)
        end = self._terminals.make_unqueued(accepted, status, error)
        return await self._terminals.record_or_raise(end, reply_subject)

    async def _somebody_has(self, accepted: CompletionAccepted, reply_subject: str) -> bool:
        completion_id, notes = accepted.completion_id, self._notes
        return (
            await notes.waits(completion_id)
            or await self._workers.resend(completion_id, -1) is not Heard.NOBODY
            # What was said of an answer is for a worker to end, whatever became of its request.
            or await notes.begun(reply_subject)
            or await notes.search(accepted) is not None
        )
