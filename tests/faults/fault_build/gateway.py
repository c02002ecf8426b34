"""``parley api`` that breaks at ``FAULT_POINT``, or whose clock is wrong by ``FAULT_SKEW_SECONDS``.

- ``accepted``: ``accepted`` is recorded, the request is not queued.
- ``queued``: the request is queued, nobody reads along any more.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

from services.api.__main__ import main
from services.api.ports.broker import Clock, Journal, Queue
from services.api.settings import Settings
from services.api.world import World, nats_world
from tests.faults.fault_build.trap import After, FaultSettings, Trap, count_tasks_when_asked


class SkewedClock:
    """A clock whose wall time is wrong; what it measures is right."""

    def __init__(self, clock: Clock, skew: timedelta) -> None:
        self.monotonic = clock.monotonic
        self._clock = clock
        self._skew = skew

    def now(self) -> datetime:
        """See the port."""
        return self._clock.now() + self._skew


@asynccontextmanager
async def faulty_world(settings: Settings) -> AsyncGenerator[World]:
    """The ports as they are, but for one."""
    faults = FaultSettings()
    trap = Trap(faults)
    async with nats_world(settings) as world:
        yield replace(
            world,
            clock=SkewedClock(world.clock, timedelta(seconds=faults.skew_seconds)),
            journal=cast("Journal", After(world.journal, "accept", trap, "accepted")),
            queue=cast("Queue", After(world.queue, "enqueue", trap, "queued")),
        )


if __name__ == "__main__":
    count_tasks_when_asked()
    main(faulty_world)
