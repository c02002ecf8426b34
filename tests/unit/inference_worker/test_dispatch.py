"""Slots and queues, with queues in memory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from services.inference_worker.dispatch import Dispatcher, PullEnd
from services.inference_worker.lanes import Source
from services.inference_worker.ports import Job
from services.inference_worker.stop import StopReason, StopSignal
from tests.fakes.inference_worker.broker import FakeJob
from tests.support.waiting import eventually

A, B = Source("m", "a", 10.0), Source("m", "b", 10.0)


class Queues:
    """``Puller`` over lists."""

    def __init__(self) -> None:
        self.waiting: dict[Source, list[FakeJob]] = defaultdict(list)
        self.held: dict[Source, asyncio.Event] = {}
        self.given_back: list[FakeJob] = []
        self.missing: set[Source] = set()
        self.broken: set[Source] = set()
        self.pulls = 0

    def put(self, source: Source, name: str) -> None:
        """Queue a job."""
        self.waiting[source].append(FakeJob(name.encode(), []))
        if source in self.held:
            self.held[source].set()

    async def pull(
        self, source: Source, take: Callable[[Source, Job], bool], *, wait: float | None
    ) -> PullEnd:
        """See ``Puller``."""
        self.pulls += wait is not None
        if source in self.missing:
            return PullEnd.MISSING
        if source in self.broken and wait is not None:
            self.broken.discard(source)
            raise RuntimeError("a mistake")
        if not self.waiting[source] and wait is not None:
            self.held[source] = asyncio.Event()
            try:
                await self.held[source].wait()
            finally:
                del self.held[source]
        if not self.waiting[source]:
            return PullEnd.EMPTY
        job = self.waiting[source].pop(0)
        if not take(source, job):
            self.given_back.append(job)
            self.waiting[source].insert(0, job)
        return PullEnd.JOB


class Work:
    """Runs until a test says that it is done."""

    def __init__(self) -> None:
        self.running: dict[str, StopSignal] = {}
        self.began: list[str] = []
        self.most = 0
        self._done: dict[str, asyncio.Event] = {}

    async def run(self, job: Job, stop: StopSignal) -> None:
        """Answer one."""
        name = job.data.decode()
        if name == "crash":
            raise RuntimeError(name)
        self.running[name] = stop
        self.began.append(name)
        self.most = max(self.most, len(self.running))
        self._done[name] = asyncio.Event()
        waits = [asyncio.create_task(event) for event in (self._done[name].wait(), stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        del self.running[name]

    async def begun(self, count: int) -> None:
        """Return once so many have begun."""
        await eventually(lambda: len(self.began) >= count)

    def finish(self, name: str) -> None:
        """Say that one is done."""
        self._done[name].set()


@asynccontextmanager
async def dispatching(
    queues: Queues, work: Work, slots: int = 2, missing: list[str] | None = None
) -> AsyncGenerator[Dispatcher]:
    noted = missing if missing is not None else []
    dispatcher = Dispatcher(queues, work.run, slots=slots, on_missing=noted.append)
    dispatcher.offer([A, B])
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        await dispatcher.drain(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_idle_worker_holds_one_pull_per_queue() -> None:
    queues = Queues()
    async with dispatching(queues, Work()):
        await eventually(lambda: set(queues.held) == {A, B})
        assert queues.pulls == 2


async def test_when_the_last_slot_is_taken_the_pulls_are_withdrawn() -> None:
    queues, work = Queues(), Work()
    async with dispatching(queues, work) as dispatcher:
        await eventually(lambda: set(queues.held) == {A, B})
        queues.put(A, "1")
        queues.put(B, "2")
        await eventually(lambda: len(work.running) == 2)
        await eventually(lambda: not queues.held)
        assert dispatcher.free == 0


async def test_a_job_that_slips_through_is_given_back() -> None:
    queues, work = Queues(), Work()
    async with dispatching(queues, work, slots=1):
        await eventually(lambda: set(queues.held) == {A, B})
        queues.put(A, "1")
        queues.put(B, "2")
        await eventually(lambda: len(work.running) == 1)
        await eventually(lambda: not queues.held)
        assert [job.data for job in queues.given_back] in ([], [b"2"])
        assert work.most == 1


async def test_a_free_slot_takes_lane_a_first_and_b_at_least_every_fourth_time() -> None:
    queues, work = Queues(), Work()
    for number in range(6):
        queues.put(A, f"a{number}")
    for number in range(2):
        queues.put(B, f"b{number}")
    async with dispatching(queues, work, slots=1):
        for number in range(8):
            await work.begun(number + 1)
            work.finish(work.began[-1])
    first_four = work.began[:4]
    assert sum(name.startswith("b") for name in first_four) >= 1
    assert [name for name in work.began if name[0] == "a"] == [f"a{n}" for n in range(6)]
    assert len(work.began) == 8


async def test_a_job_that_crashes_frees_its_slot() -> None:
    queues, work = Queues(), Work()
    async with dispatching(queues, work, slots=1):
        queues.put(A, "crash")
        queues.put(A, "1")
        await eventually(lambda: work.began == ["1"])


async def test_a_missing_queue_is_reported_and_asked_again_without_haste() -> None:
    queues, missing = Queues(), list[str]()
    queues.missing = {A}
    async with dispatching(queues, Work(), missing=missing):
        await eventually(lambda: len(missing) >= 2)
        assert queues.pulls < 10


async def test_a_pull_that_crashes_is_held_again() -> None:
    queues, work = Queues(), Work()
    queues.broken = {A}
    async with dispatching(queues, work):
        await eventually(lambda: A in queues.held)
        queues.put(A, "1")
        await work.begun(1)


async def test_a_queue_that_is_offered_later_is_pulled_and_one_withdrawn_is_not() -> None:
    queues, other = Queues(), Source("n", "a", 10.0)
    async with dispatching(queues, Work()) as dispatcher:
        await eventually(lambda: set(queues.held) == {A, B})
        dispatcher.offer([other])
        await eventually(lambda: set(queues.held) == {other})


async def test_drain_waits_for_what_runs_and_takes_nothing_more() -> None:
    queues, work = Queues(), Work()
    async with dispatching(queues, work) as dispatcher:
        queues.put(A, "1")
        await eventually(lambda: "1" in work.running)
        draining = asyncio.create_task(dispatcher.drain(10))
        await eventually(lambda: not queues.held)
        assert dispatcher.free == 0
        work.finish("1")
        await asyncio.wait_for(draining, 5)


async def test_drain_tells_what_still_runs_at_its_end_why_it_must_stop() -> None:
    queues, work = Queues(), Work()
    async with dispatching(queues, work) as dispatcher:
        queues.put(A, "1")
        await eventually(lambda: "1" in work.running)
        stop = work.running["1"]
        draining = asyncio.create_task(dispatcher.drain(0))
        await asyncio.wait_for(draining, 5)
        assert stop.reason is StopReason.SHUTDOWN
        assert not work.running
