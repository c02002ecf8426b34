"""Gateways whose wall clock is not that of this machine."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.api.ports.broker import Clock
from services.api.ports.limits import MeterStore
from services.api.settings import Settings
from services.api.world import OpenWorld, World, nats_world

_LONG: Final = 3600.0


class StoppedClock:
    """The same moment for ever for people; timers go on."""

    def __init__(self, clock: Clock, moment: datetime) -> None:
        self.monotonic = clock.monotonic
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


class LastingMeters:
    """Readings that do not run out: the broker's clock goes on where the gateways' stands still.

    Twenty would be forgotten after a minute, one that came alone after four seconds: a slow machine
    would let in more.
    """

    def __init__(self, meters: MeterStore) -> None:
        self.get = meters.get
        self._meters = meters

    async def set(
        self, holder: str, readings: Mapping[str, int], revision: int | None, ttl: float
    ) -> bool:
        return await self._meters.set(holder, readings, revision, max(ttl, _LONG))


def stopped_at(moment: datetime, *, ahead: timedelta = timedelta(0)) -> OpenWorld:
    """Opens the real world with a clock that stands still: what is earned back is nothing."""

    @asynccontextmanager
    async def open_world(settings: Settings) -> AsyncGenerator[World]:
        async with nats_world(settings) as world:
            clock = StoppedClock(world.clock, moment + ahead)
            yield replace(world, clock=clock, meters=LastingMeters(world.meters))

    return open_world
