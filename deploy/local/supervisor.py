"""Start children in order, keep them alive, stop them in reverse.

It knows processes only through :class:`Process` and time only through :class:`Clock`, so that its
tests replay histories without either.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

from deploy.local.errors import ChildDied, GaveUp, LauncherError, NotReady
from deploy.local.readiness import Observed, how_it_ended
from deploy.local.restarts import RestartPolicy
from deploy.local.spec import ChildSpec, ExitsZero, Stage


class Process(Observed, Protocol):
    """A running child."""

    @property
    def pid(self) -> int:
        """The pid of the program itself."""
        ...

    async def stop(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """End it: politely for ``grace``, at once when ``hurry`` is set; return when it is gone."""
        ...


class Clock(Protocol):
    """Time as the restart policy sees it."""

    def now(self) -> float:
        """Seconds that only grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return ``seconds`` later."""
        ...


class MonotonicClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return ``seconds`` later."""
        await asyncio.sleep(seconds)


Spawn = Callable[[ChildSpec], Awaitable[Process]]
WaitUntilReady = Callable[[ChildSpec, Process], Awaitable[None]]


class Supervisor:
    """Runs the stages of one topology."""

    def __init__(
        self,
        spawn: Spawn,
        wait_until_ready: WaitUntilReady,
        *,
        clock: Clock,
        say: Callable[[str], None],
        started: Callable[[ChildSpec, int], None],
    ) -> None:
        """Take what the supervisor needs.

        Args:
            spawn: starts the process of a spec.
            wait_until_ready: returns when it is ready, raises a LauncherError when it never will.
            clock: time, for delays and for counting deaths.
            say: shows the user one line.
            started: told of every start and restart of a server, with the pid.
        """
        self._spawn = spawn
        self._wait_until_ready = wait_until_ready
        self._clock = clock
        self._say = say
        self._started = started
        self._running: dict[str, tuple[ChildSpec, Process]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(
        self,
        stages: Sequence[Stage],
        *,
        stop: asyncio.Event,
        hurry: asyncio.Event,
        on_ready: Callable[[], None],
    ) -> None:
        """Start everything, call ``on_ready``, go on until ``stop``; leave no child behind.

        Raises:
            LauncherError: a child did not become ready, or died too often.
        """
        stopping = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(self._start(stages))
        try:
            if await self._first_of(starting, stopping) is starting:
                on_ready()
                await self._first_of(stopping)
        finally:
            await _cancel(starting, stopping, *self._keepers)
            await self._stop(stages, hurry)

    async def _first_of(self, *tasks: asyncio.Task[None] | asyncio.Task[bool]) -> object:
        """Wait for one of ``tasks``; a keeper that gives up meanwhile raises here."""
        done, _ = await asyncio.wait({*tasks, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        for task in (self._lost, *tasks):
            if task in done:
                task.result()
                return task
        raise AssertionError("asyncio.wait returned without a result")

    async def _start(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            starts = [asyncio.create_task(self._bring_up(spec)) for spec in stage]
            try:
                await asyncio.gather(*starts)
            finally:
                await _cancel(*starts)

    async def _bring_up(self, spec: ChildSpec) -> None:
        process = await self._launch(spec)
        await self._wait_until_ready(spec, process)
        if isinstance(spec.readiness, ExitsZero):
            del self._running[spec.name]
        else:
            keeper = asyncio.create_task(self._keep(spec, process), name=f"keep {spec.name}")
            keeper.add_done_callback(self._kept)
            self._keepers.append(keeper)

    async def _launch(self, spec: ChildSpec) -> Process:
        spawning = asyncio.ensure_future(self._spawn(spec))
        try:
            process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # Half started is started: it must be known, or nobody would stop it.
            with contextlib.suppress(LauncherError):
                self._running[spec.name] = (spec, await spawning)
            raise
        self._running[spec.name] = (spec, process)
        if not isinstance(spec.readiness, ExitsZero):
            self._started(spec, process.pid)
        return process

    async def _keep(self, spec: ChildSpec, process: Process) -> None:
        """Restart one child whenever it dies, until it has died too often."""
        policy = RestartPolicy()
        problem = how_it_ended(await process.wait())
        while True:
            delay = policy.died(self._clock.now())
            if delay is None:
                sentence = (
                    f"{spec.name} {problem}; that was death {policy.limit} within "
                    f"{policy.window:g} s, so everything stops."
                )
                # Said now: stopping everything may take as long as running answers may.
                self._say(sentence)
                raise GaveUp(
                    sentence,
                    details=process.tail,
                )
            self._say(f"{spec.name} {problem}; it is restarted in {delay:g} s.")
            await self._clock.sleep(delay)
            try:
                process = await self._launch(spec)
            except LauncherError as error:
                # No room for a process now is no reason to end those that run.
                self._say(str(error))
                problem = "could not be started"
            else:
                problem = await self._life(spec, process)

    async def _life(self, spec: ChildSpec, process: Process) -> str:
        """How the life of a restarted child ended."""
        try:
            await self._wait_until_ready(spec, process)
        except NotReady:
            await process.stop(timedelta(0), asyncio.Event())
            return "did not become ready in time"
        except ChildDied:
            pass
        return how_it_ended(await process.wait())

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        """Pass a keeper's failure on to whoever waits in ``run``."""
        if keeper.cancelled() or self._lost.done():
            return
        if error := keeper.exception():
            self._lost.set_exception(error)

    async def _stop(self, stages: Sequence[Stage], hurry: asyncio.Event) -> None:
        for stage in reversed(stages):
            names = [spec.name for spec in stage if spec.name in self._running]
            await asyncio.gather(*(self._stop_one(name, hurry) for name in names))

    async def _stop_one(self, name: str, hurry: asyncio.Event) -> None:
        spec, process = self._running.pop(name)
        await process.stop(spec.grace, hurry)


async def _cancel(*tasks: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    """Cancel ``tasks`` and wait until they are over; their results no longer matter."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
