"""Gateways whose wall clock is not that of this machine."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from services.api.ports.broker import Clock
from services.api.settings import Settings
from services.api.world import OpenWorld, World, nats_world


class StoppedClock:
    """The same moment for ever for people; timers go on."""

    def __init__(self, clock: Clock, moment: datetime) -> None:
        self.monotonic = clock.monotonic
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


def stopped_at(moment: datetime, *, ahead: timedelta = timedelta(0)) -> OpenWorld:
    """Opens the real world with a clock that stands still: what is earned back is nothing."""

    @asynccontextmanager
    async def open_world(settings: Settings) -> AsyncGenerator[World]:
        async with nats_world(settings) as world:
            yield replace(world, clock=StoppedClock(world.clock, moment + ahead))

    return open_world
