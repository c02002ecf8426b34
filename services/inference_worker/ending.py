"""The end of a completion, in the one order that loses nothing.

``completed`` (kept by the broker), then the ``END`` frame, then the acknowledgement of the request.
The unacknowledged request is the outbox: whoever dies in between leaves it to the next worker,
which finds what is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import structlog
from pydantic import ValidationError

from services.inference_worker.ports import Frames, Job, Ledger
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_ACK_TRIES: Final = 3

log = structlog.stdlib.get_logger(__name__)


class Ending:
    """Writes ends down; every completion gets exactly one, whoever writes it."""

    def __init__(
        self,
        ledger: Ledger,
        frames: Frames,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._frames = frames
        self._sleep = sleep

    async def write(
        self, job: Job, subject: str, event: CompletionCompleted, *, lapsed: Callable[[], bool]
    ) -> bool:
        """Record ``event``, tell the reader, acknowledge; waits for a broker that is away.

        Where another worker has recorded an end already, the reader is told that one. Where
        another one has taken over and is still at it, nothing is done: readers see its answer, and
        an end of this one would be another text.

        Args:
            job: What is acknowledged.
            subject: Where the reader listens.
            event: The end.
            lapsed: Whether another worker may have been given the request.

        Returns:
            Whether the end is told; ``False`` leaves it to the other worker.
        """
        payload = event.to_bytes()
        recorded = await self._record(event, payload, lapsed)
        if recorded is None:
            return False
        await self.tell(job, subject, event if recorded == payload else _winner(recorded, event))
        return True

    async def tell(self, job: Job, subject: str, event: CompletionCompleted) -> None:
        """Send the ``END`` frame of a recorded event and acknowledge the request."""
        await self._frames.send(subject, end_frame(event))
        await self._acknowledge(job)

    async def _record(
        self, event: CompletionCompleted, payload: bytes, lapsed: Callable[[], bool]
    ) -> bytes | None:
        wait = _FIRST_WAIT
        while True:
            try:
                if lapsed() and await later_attempt(
                    self._ledger, event.completion_id, event.ended_by
                ):
                    return None
                return await self._ledger.complete(event.completion_id, payload)
            except BrokerUnavailable as error:
                log.warning("completed_not_recorded_yet", error=error.message)
            await self._sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _acknowledge(self, job: Job) -> None:
        for _ in range(_ACK_TRIES):
            try:
                return await job.ack()
            except BrokerUnavailable as error:
                log.warning("request_not_acknowledged", error=error.message)
        # It comes back once more, to find ``completed`` and be acknowledged then.
        return None


async def later_attempt(ledger: Ledger, completion_id: CompletionId, attempt: int) -> bool:
    """Whether anything has been sent by a later attempt than this one; 0 means by any."""
    async with aclosing(ledger.frames(completion_id, 0)) as frames:
        async for _, frame in frames:
            if frame.attempt > attempt:
                return True
    return False


def _winner(recorded: bytes, event: CompletionCompleted) -> CompletionCompleted:
    try:
        winner = CompletionCompleted.from_bytes(recorded)
    except ValidationError:
        # Nobody can read what stands there. The request must not come back for ever for that.
        log.exception("completed_unreadable")
        return event
    # With its own attempt: a reader of this worker's must find out that it strayed.
    log.warning("completion_ended_elsewhere")
    return winner
