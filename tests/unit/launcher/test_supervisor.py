"""Histories of children, replayed without processes and without waiting."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from deploy.local.errors import ChildDied, GaveUp, LauncherError, NotReady
from deploy.local.readiness import wait_until_ready
from deploy.local.spec import ChildSpec, ExitsZero, Printed
from deploy.local.supervisor import Supervisor
from tests.support.waiting import eventually


class FakeProcess:
    """A child that does what the test says."""

    def __init__(self, spec: ChildSpec, pid: int, journal: list[str]) -> None:
        self.spec = spec
        self.pid = pid
        self.tail: tuple[str, ...] = ("its last words",)
        self.ready = asyncio.Event()
        self.stubborn = False
        self._journal = journal
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def said_ready(self) -> None:
        """Return when the test says so."""
        await self.ready.wait()

    async def wait(self) -> int:
        """The code it died with."""
        return await asyncio.shield(self._code)

    def die(self, code: int) -> None:
        """End, as if by itself."""
        if not self._code.done():
            self._code.set_result(code)

    async def stop(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """End because it is told to."""
        self._journal.append(f"stop {self.spec.name}")
        if self.stubborn:
            await hurry.wait()
            self._journal.append(f"kill {self.spec.name}")
        self.die(-15)


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        """The sum of what was slept."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.time += seconds


class History:
    """One run of a supervisor over fake processes."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.said: list[str] = []
        self.lives: dict[str, list[FakeProcess]] = defaultdict(list)
        self.at_birth: dict[str, Callable[[FakeProcess], None]] = {}
        self.clock = FakeClock()
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.recorded: list[tuple[str, int]] = []

    async def spawn(self, spec: ChildSpec) -> FakeProcess:
        """A new life of ``spec``."""
        pid = 100 + sum(map(len, self.lives.values()))
        process = FakeProcess(spec, pid, self.journal)
        self.journal.append(f"start {spec.name}")
        self.at_birth.get(spec.name, is_ready)(process)
        self.lives[spec.name].append(process)
        return process

    def run(self, *stages: tuple[ChildSpec, ...]) -> Coroutine[Any, Any, None]:
        """The supervisor's run over ``stages``."""
        supervisor = Supervisor(
            self.spawn,
            wait_until_ready,
            clock=self.clock,
            say=self.said.append,
            started=lambda spec, pid: self.recorded.append((spec.name, pid)),
        )
        return supervisor.run(
            stages,
            stop=self.stop,
            hurry=self.hurry,
            on_ready=lambda: self.journal.append("ready"),
        )

    @asynccontextmanager
    async def running(self, *stages: tuple[ChildSpec, ...]) -> AsyncGenerator[None]:
        """Run in the background from "ready" to the end of the block, then stop."""
        task = asyncio.create_task(self.run(*stages))
        await eventually(lambda: "ready" in self.journal)
        yield
        self.stop.set()
        await task

    async def death(self, name: str, code: int = -9) -> None:
        """End the newest life of ``name`` and wait for the next one."""
        lives = self.lives[name]
        count = len(lives)
        lives[-1].die(code)
        await eventually(lambda: len(lives) > count)


@pytest.fixture
async def history() -> History:
    return History()


def child(name: str, *, step: bool = False, ready_within: float = 5.0) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=("/bin/true",),
        readiness=ExitsZero() if step else Printed(),
        ready_timeout=timedelta(seconds=ready_within),
    )


def exits(code: int) -> Callable[[FakeProcess], None]:
    return lambda process: process.die(code)


def is_ready(process: FakeProcess) -> None:
    """Ready from the start."""
    process.ready.set()


def is_silent(process: FakeProcess) -> None:
    """Neither ready nor dead."""


async def test_stages_start_in_order_and_stop_in_reverse(history: History) -> None:
    async with history.running((child("nats"),), (child("history"),), (child("gateway"),)):
        pass

    assert history.journal == [
        *("start nats", "start history", "start gateway", "ready"),
        *("stop gateway", "stop history", "stop nats"),
    ]


async def test_a_stage_waits_until_the_one_before_is_ready(history: History) -> None:
    history.at_birth["nats"] = is_silent
    task = asyncio.create_task(history.run((child("nats"),), (child("history"),)))
    await eventually(lambda: bool(history.lives["nats"]))
    assert not history.lives["history"]

    history.lives["nats"][0].ready.set()

    await eventually(lambda: bool(history.lives["history"]))
    history.stop.set()
    await task


async def test_children_of_one_stage_start_side_by_side(history: History) -> None:
    history.at_birth["nats"] = history.at_birth["mongo"] = is_silent
    task = asyncio.create_task(history.run((child("nats"), child("mongo"))))

    await eventually(lambda: bool(history.lives["nats"] and history.lives["mongo"]))

    history.stop.set()
    await task


async def test_a_child_that_dies_before_it_is_ready_stops_the_start(history: History) -> None:
    history.at_birth["history"] = exits(1)

    with pytest.raises(ChildDied, match=r"history ended with exit code 1 before") as failure:
        await history.run((child("nats"),), (child("history"),), (child("gateway"),))

    assert failure.value.details == ("its last words",)
    assert failure.value.exit_code == 1
    assert "start gateway" not in history.journal
    assert history.journal[-1] == "stop nats"


async def test_exit_code_2_repeats_the_sentence_of_the_child(history: History) -> None:
    def refuses(process: FakeProcess) -> None:
        process.tail = ("noise", "API_PORT: not a number.")
        process.die(2)

    history.at_birth["gateway"] = refuses

    with pytest.raises(ChildDied, match=r"^gateway: API_PORT: not a number\.$") as failure:
        await history.run((child("gateway"),))

    assert failure.value.exit_code == 2
    assert failure.value.details == ()


async def test_a_child_that_is_never_ready_is_stopped_with_a_sentence(history: History) -> None:
    history.at_birth["nats"] = is_silent

    with pytest.raises(NotReady, match=r"nats was not ready after 0\.05 s"):
        await history.run((child("nats", ready_within=0.05),))

    assert history.journal[-1] == "stop nats"


async def test_a_step_must_end_well_before_the_next_stage_and_is_not_kept(
    history: History,
) -> None:
    history.at_birth["once"] = exits(0)

    async with history.running((child("once", step=True),), (child("gateway"),)):
        assert history.journal == ["start once", "start gateway", "ready"]

    assert history.recorded == [("gateway", 101)]
    assert history.said == []


async def test_a_step_that_fails_stops_the_start(history: History) -> None:
    history.at_birth["once"] = exits(3)

    with pytest.raises(ChildDied, match="exit code 3"):
        await history.run((child("once", step=True),), (child("gateway"),))


async def test_a_child_that_dies_later_is_restarted_with_one_line(history: History) -> None:
    async with history.running((child("nats"),), (child("worker"),)):
        await history.death("worker")

    assert history.said == ["worker was killed by SIGKILL; it is restarted in 0.2 s."]
    assert history.clock.slept == [0.2]
    assert history.recorded == [("nats", 100), ("worker", 101), ("worker", 102)]


async def test_a_child_of_an_early_stage_is_restarted_while_later_ones_still_start(
    history: History,
) -> None:
    history.at_birth["gateway"] = is_silent
    task = asyncio.create_task(history.run((child("nats"),), (child("gateway"),)))
    await eventually(lambda: bool(history.lives["gateway"]))

    await history.death("nats")

    history.stop.set()
    await task
    assert "ready" not in history.journal


async def test_a_clean_exit_of_a_server_is_a_death_too(history: History) -> None:
    async with history.running((child("worker"),)):
        await history.death("worker", code=0)

    assert history.said == ["worker ended with exit code 0; it is restarted in 0.2 s."]


async def test_five_deaths_within_a_minute_stop_everything(history: History) -> None:
    task = asyncio.create_task(history.run((child("nats"),), (child("worker"),)))
    await eventually(lambda: "ready" in history.journal)
    for _ in range(4):
        await history.death("worker")
    history.lives["worker"][-1].die(-9)

    with pytest.raises(GaveUp, match=r"worker was killed by SIGKILL; that was death 5 within 60 s"):
        await task

    assert history.clock.slept == [0.2, 0.4, 0.8, 1.6]
    assert history.journal[-1] == "stop nats"


async def test_a_restart_that_dies_before_it_is_ready_counts_as_a_death(history: History) -> None:
    task = asyncio.create_task(history.run((child("worker"),)))
    await eventually(lambda: "ready" in history.journal)
    history.at_birth["worker"] = exits(1)
    history.lives["worker"][-1].die(1)

    with pytest.raises(GaveUp):
        await task

    assert len(history.lives["worker"]) == 5


async def test_a_restart_that_is_never_ready_is_killed_and_tried_again(history: History) -> None:
    async with history.running((child("worker", ready_within=0.05),)):
        history.at_birth["worker"] = is_silent
        await history.death("worker")
        await eventually(lambda: len(history.lives["worker"]) > 2)

    assert "worker did not become ready in time; it is restarted in 0.4 s." in history.said


async def test_a_stop_during_the_start_stops_what_has_started(history: History) -> None:
    history.at_birth["mongo"] = is_silent
    task = asyncio.create_task(history.run((child("nats"),), (child("mongo"),)))
    await eventually(lambda: bool(history.lives["mongo"]))

    history.stop.set()
    await task

    assert history.journal == ["start nats", "start mongo", "stop mongo", "stop nats"]


async def test_a_stop_before_the_start_starts_nothing_that_stays(history: History) -> None:
    history.stop.set()

    await history.run((child("nats"),))

    assert history.journal.count("start nats") == history.journal.count("stop nats")


async def test_the_second_wish_to_stop_is_passed_on_to_children_that_take_their_time(
    history: History,
) -> None:
    task = asyncio.create_task(history.run((child("nats"),), (child("worker"),)))
    await eventually(lambda: "ready" in history.journal)
    history.lives["worker"][0].stubborn = True
    history.stop.set()
    await eventually(lambda: "stop worker" in history.journal)
    assert "stop nats" not in history.journal

    history.hurry.set()
    await task

    assert history.journal[-3:] == ["stop worker", "kill worker", "stop nats"]


async def test_a_restart_for_which_there_is_no_room_now_is_tried_again(history: History) -> None:
    def no_room(_process: FakeProcess) -> None:
        history.at_birth["worker"] = is_ready
        raise LauncherError("worker cannot be started: no room.")

    async with history.running((child("worker"),)):
        history.at_birth["worker"] = no_room
        await history.death("worker")

    assert history.said[1:] == [
        "worker cannot be started: no room.",
        "worker could not be started; it is restarted in 0.4 s.",
    ]
