"""Slots and queues: who works on what, and for what the next free slot waits.

While a slot is free, one long pull is held per queue. When the last slot is taken, all of them are
withdrawn. When one is free again after that, the queues are asked one by one in the order of
``lanes``, and only if nothing waits anywhere are the long pulls held again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Final, Protocol

import structlog

from services.inference_worker.lanes import Lanes, Source
from services.inference_worker.ports import Job
from services.inference_worker.stop import StopReason, StopSignal

_LONG_PULL: Final = 10.0
"""At most; a worker that hangs must not be given the same request again by a pull that it still
holds. It comes back three quarters of an ack wait after the last sign of life, or later."""
_OF_ACK_WAIT: Final = 0.5
_BACKOFF: Final = (0.2, 0.5, 1.0, 2.0)
_LAST_WORDS: Final = 5.0

log = structlog.stdlib.get_logger(__name__)


class PullEnd(Enum):
    """How a pull ended."""

    JOB = "job"
    """It brought a request, which was taken or given back."""
    EMPTY = "empty"
    """Nothing waits there, or nothing came in time."""
    MISSING = "missing"
    """The queue is not there, or refuses pulls at present."""


class Puller(Protocol):
    """Asks a queue for one request."""

    async def pull(
        self, source: Source, take: Callable[[Source, Job], bool], *, wait: float | None
    ) -> PullEnd:
        """Ask once, waiting at the queue for ``wait`` seconds, or not at all.

        A request goes to ``take`` as soon as it comes; if that gives ``False``, it is given back
        at once. Cancelling withdraws the pull, and a request that slips through goes the same way.
        """
        ...


class Dispatcher:
    """Owns the slots, the pulls and the tasks of the requests that run."""

    def __init__(
        self,
        puller: Puller,
        run: Callable[[Job, StopSignal], Awaitable[None]],
        *,
        slots: int,
        on_missing: Callable[[str], None],
    ) -> None:
        """Describe the work.

        Args:
            puller: Gets requests.
            run: Answers one; ends when it is acknowledged or given back.
            slots: How many run at once.
            on_missing: Called with a model whose queue is not there.
        """
        self._puller = puller
        self._run_job = run
        self._slots = slots
        self._on_missing = on_missing
        self._lanes = Lanes()
        self._sources: list[Source] = []
        self._held: dict[Source, asyncio.Task[None]] = {}
        self._withdrawn: set[asyncio.Task[None]] = set()
        self._jobs: dict[asyncio.Task[None], StopSignal] = {}
        # Also at the start: what waits already is taken in order.
        self._was_full = True
        self._closing = False
        self._changed = asyncio.Event()

    @property
    def free(self) -> int:
        """Slots without a request."""
        return 0 if self._closing else self._slots - len(self._jobs)

    def offer(self, sources: Sequence[Source]) -> None:
        """From now on take from these queues and no others."""
        self._sources = list(sources)
        for source in [held for held in self._held if held not in self._sources]:
            self._withdraw(source)
        self._changed.set()

    async def run(self) -> None:
        """Take requests until cancelled."""
        try:
            while True:
                self._changed.clear()
                if self.free and self._was_full:
                    await self._sweep()
                if self.free:
                    self._hold()
                await self._changed.wait()
        finally:
            self._withdraw_all()
            await asyncio.gather(*self._withdrawn, return_exceptions=True)

    async def drain(self, timeout: float) -> None:
        """Take nothing more, let what runs finish for ``timeout`` seconds, then end it."""
        self._closing = True
        self._withdraw_all()
        if self._jobs:
            await asyncio.wait(list(self._jobs), timeout=timeout)
        for stop in self._jobs.values():
            stop.set(StopReason.SHUTDOWN)
        if self._jobs:
            await asyncio.wait(list(self._jobs), timeout=_LAST_WORDS)
        left = [task for task in self._jobs if not task.done()]
        for task in left:
            # The broker hands it to another worker after the ack wait.
            log.error("request_abandoned")
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _sweep(self) -> None:
        """Ask every queue without waiting, until no slot or no request is left."""
        while self.free:
            for source in self._lanes.order(self._sources):
                end = await self._puller.pull(source, self._take, wait=None)
                if end is PullEnd.JOB or not self.free:
                    break
            else:
                self._was_full = False
                return

    def _hold(self) -> None:
        for source in self._sources:
            if source not in self._held:
                name = f"pull-{source.model}-{source.lane}"
                self._held[source] = asyncio.create_task(self._pull(source), name=name)

    async def _pull(self, source: Source) -> None:
        failures = 0
        while True:
            try:
                wait = min(_LONG_PULL, _OF_ACK_WAIT * source.ack_wait)
                end = await self._puller.pull(source, self._take, wait=wait)
            except Exception:
                # A task that died here would look like a held pull for ever.
                log.exception("pull_crashed", model=source.model, lane=source.lane)
                end = PullEnd.MISSING
            if end is not PullEnd.MISSING:
                failures = 0
                continue
            self._on_missing(source.model)
            await asyncio.sleep(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
            failures += 1

    def _withdraw(self, source: Source) -> None:
        task = self._held.pop(source)
        self._withdrawn.add(task)
        task.add_done_callback(self._withdrawn.discard)
        task.cancel()

    def _withdraw_all(self) -> None:
        for source in list(self._held):
            self._withdraw(source)

    def _take(self, source: Source, job: Job) -> bool:
        if not self.free or source.model not in {offered.model for offered in self._sources}:
            return False
        stop = StopSignal()
        task = asyncio.create_task(self._work(job, stop), name=f"job-{source.model}")
        self._jobs[task] = stop
        task.add_done_callback(self._done)
        self._lanes.taken(source)
        if not self.free:
            self._was_full = True
            self._withdraw_all()
        return True

    async def _work(self, job: Job, stop: StopSignal) -> None:
        try:
            await self._run_job(job, stop)
        except Exception:
            # One request must not take the worker down; this one comes back after the ack wait.
            log.exception("job_crashed")

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._jobs[task]
        self._changed.set()
