"""The end of a completion, in the one order that loses nothing.

``completed`` (kept by the broker), then the ``END`` frame, then the acknowledgement of the request.
The unacknowledged request is the outbox: whoever dies in between leaves it to the next worker,
which finds what is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from services.inference_worker.ports import Frames, Job, Ledger
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
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

    async def write(self, job: Job, subject: str, event: CompletionCompleted) -> None:
        """Record ``event``, tell the reader, acknowledge; waits for a broker that is away.

        Where another worker has recorded an end already, the reader is told that one.
        """
        payload = event.to_bytes()
        recorded = await self._record(event, payload)
        if recorded != payload:
            log.warning("completion_ended_elsewhere")
            winner = CompletionCompleted.from_bytes(recorded)
            event = winner.model_copy(update={"attempts": max(winner.attempts, event.attempts)})
        await self.tell(job, subject, event)

    async def tell(self, job: Job, subject: str, event: CompletionCompleted) -> None:
        """Send the ``END`` frame of a recorded event and acknowledge the request."""
        said = event.model_dump_json(
            exclude={"text", "thinking", "tool_calls"}, exclude_none=True
        ).encode()
        tokens = event.usage.completion_tokens if event.usage else 0
        frame = Frame(
            FrameKind.END,
            event.attempts,
            event.events,
            0,
            tokens,
            len(event.text),
            len(event.thinking),
            said,
        )
        await self._frames.send(subject, frame)
        await self._acknowledge(job)

    async def _record(self, event: CompletionCompleted, payload: bytes) -> bytes:
        wait = _FIRST_WAIT
        while True:
            try:
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
