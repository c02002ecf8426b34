"""Remove stored events from the log, so that it never refuses new ones for want of room.

Only what the consumer has acknowledged goes: never beyond its floor. Of that, what is older than
``keep`` goes at once, as an answer without a session stays readable that long; where the log is
half full the older half goes, and again, until it is not.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.history.event_ports import EventLog, LogState

_FIRST_NUDGE: Final = 64 * 1024

log = structlog.stdlib.get_logger(__name__)


class Purger:
    """Runs on a timer, and when ``stored`` has counted a good part of the log's size."""

    def __init__(
        self, event_log: EventLog, *, keep: timedelta, now: Callable[[], datetime]
    ) -> None:
        self._log = event_log
        self._keep = keep
        self._now = now
        self._stored = 0
        self._nudge_at = _FIRST_NUDGE
        self._nudged = asyncio.Event()

    def stored(self, size: int) -> None:
        """Count an event of ``size`` bytes that has just been stored."""
        self._stored += size
        if self._stored >= self._nudge_at:
            self._nudged.set()

    async def due(self, interval: float) -> None:
        """Wait until it is time for a purge: ``interval`` seconds, or sooner."""
        try:
            async with asyncio.timeout(interval):
                await self._nudged.wait()
        except TimeoutError:
            return

    async def purge(self) -> None:
        """Remove what may go now.

        Raises:
            BrokerUnavailable, ApiError: NATS did not do it; try again.
        """
        self._stored = 0
        self._nudged.clear()
        state = await self._log.state()
        if state.max_size > 0:
            self._nudge_at = max(state.max_size // 16, 1)
        floor = min((await self._log.progress()).floor, state.last_sequence)
        state = await self._old(state, floor)
        while _half_full(state) and floor >= state.first_sequence:
            state = await self._below(state, _middle(state.first_sequence, floor) + 1)

    async def _old(self, state: LogState, floor: int) -> LogState:
        young = await self._log.first_since(self._now() - self._keep)
        below = floor + 1 if young is None else min(young, floor + 1)
        return await self._below(state, below) if below > state.first_sequence else state

    async def _below(self, state: LogState, below: int) -> LogState:
        await self._log.purge(below)
        after = await self._log.state()
        log.info("events_purged", below=below, size_before=state.size, size=after.size)
        return after


def _half_full(state: LogState) -> bool:
    return 0 < state.max_size <= 2 * state.size


def _middle(first: int, last: int) -> int:
    return (first + last) // 2
