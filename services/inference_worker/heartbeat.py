"""The pulse of a job: keeps the request with this worker, tells readers, looks for a cancel."""

import asyncio
import time
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final, Self

import structlog

from services.inference_worker.listener import Listener
from services.inference_worker.ports import Job, Ledger
from services.inference_worker.stop import StopReason, StopSignal
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_LONGEST: Final = 3.0


class Heartbeat:
    """Beats from its own task while the context is open, whatever the completion waits for."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        completion_id: CompletionId,
        stop: StopSignal,
        listener: Listener,
    ) -> None:
        """A quarter of what the broker waits, at most 3 s: two lost beats in a row are no loss."""
        self._job = job
        self._ledger = ledger
        self._completion_id = completion_id
        self._stop = stop
        self._interval = min(job.ack_wait / 4, _LONGEST)
        self._confirmed_at = job.pulled_at
        self._lapsed = False
        self._read = 0
        self._listener = listener
        self._beaten_at = job.pulled_at
        self._task: asyncio.Task[None] | None = None

    @property
    def lapsed(self) -> bool:
        """Whether the broker may have given the request to another worker in the meantime.

        So it may once it was silent for an ack wait: this process stood still, or what it sent
        was lost on the way.
        """
        return self._lapsed or self._unheard

    @property
    def _unheard(self) -> bool:
        return time.monotonic() - self._confirmed_at > self._job.ack_wait

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat(), name=f"heartbeat-{self._completion_id}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        await end_tasks([self._task])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            begun = time.monotonic()
            try:
                superseded = await self._superseded() if self._unheard else False
                if superseded:
                    # A sign of life would now be one for the successor, who may be dead.
                    self._stop.set(StopReason.YIELDED)
                    return
                if superseded is None:
                    await self._look_for_cancel()
                    continue
                await self._job.in_progress()
                if self._listener.answer is not None:
                    await self._listener.answer.heartbeat()
                if await self._look_for_cancel():
                    # The reply came over the connection that took the sign of life before it.
                    self._lapsed = self.lapsed
                    self._confirmed_at = begun
                self._look_for_viewers(begun)
            except Exception:
                # Without a pulse the request would go to a second worker.
                log.exception("heartbeat_failed")

    async def _superseded(self) -> bool | None:
        """Whether a later attempt has begun; ``None`` while that is not known.

        A long answer has more frames than can be read in one beat: the next one reads on.
        """
        answer = self._listener.answer
        if answer is None:
            return False
        with suppress(BrokerUnavailable, TimeoutError):
            async with (
                asyncio.timeout(self._interval),
                aclosing(self._ledger.frames(self._completion_id, self._read)) as frames,
            ):
                async for sequence, frame in frames:
                    self._read = sequence
                    if frame.attempt > answer.attempt:
                        return True
            return False
        return None

    async def _look_for_cancel(self) -> bool:
        # The tombstone is asked for too: a control request may fall into a reconnect.
        with suppress(BrokerUnavailable, TimeoutError):
            async with asyncio.timeout(self._interval):
                if await self._ledger.cancelled(self._completion_id):
                    self._stop.set(StopReason.CANCELLED)
            return True
        return False

    def _look_for_viewers(self, begun: float) -> None:
        viewers = self._listener.viewers
        if self._confirmed_at != begun:
            # The broker is away: who watches cannot be heard.
            viewers.heard()
        # A process that stood still has heard nothing either: a longer beat counts as two.
        viewers.passed(min(begun - self._beaten_at, 2 * self._interval))
        self._beaten_at = begun
        if viewers.gone and self._stop.reason is None:
            log.info("nobody_watches")
            self._stop.set(StopReason.CANCELLED)
