"""Readings that all gateways change together: whoever reads them first writes them, or reads again.

What many requests want of one holder at the same time is done in one go, so that two hundred of
them cost this gateway two round trips, and not the two hundred turns of a queue.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from services.api.background import Background
from services.api.limits.gcra import SECOND
from services.api.limits.quota import Readings
from services.api.ports.broker import Clock
from services.api.ports.limits import MeterStore
from shared.errors import BrokerUnavailable

_T = TypeVar("_T")

Change = Callable[[Readings, int], tuple[Readings, _T]]
"""From readings and the time in nanoseconds to other readings and what that means. It may be asked
again, for what others have written meanwhile."""

_TRIES: Final = 100
"""Each lost try is another gateway's success."""
_PATIENCE: Final = 10.0


class Metering:
    """The readings of all holders, as far as this gateway changes them."""

    def __init__(self, store: MeterStore, clock: Clock, background: Background) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._waiting: dict[str, list[tuple[Change[Any], asyncio.Future[Any]]]] = {}
        self._serving: set[str] = set()

    async def look(self, holder: str) -> tuple[Readings, int]:
        """The readings, and the time that they are to be read at.

        Raises:
            BrokerUnavailable: no answer.
        """
        held = await self._store.get(holder)
        return held.readings if held is not None else {}, self._now()

    async def change(self, holder: str, change: Change[_T]) -> _T:
        """Do ``change`` as if nobody else were there.

        Raises:
            BrokerUnavailable: not done, or done without our hearing of it.
        """
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, []).append((change, future))
        if holder not in self._serving:
            self._serving.add(holder)
            self._background.spawn(self._serve(holder), "count-usage")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError as error:
            raise BrokerUnavailable("Your usage could not be counted; try again.") from error

    async def _serve(self, holder: str) -> None:
        try:
            while batch := self._waiting.pop(holder, None):
                await self._serve_batch(holder, batch)
        finally:
            self._serving.discard(holder)

    async def _serve_batch(
        self, holder: str, batch: Sequence[tuple[Change[Any], asyncio.Future[Any]]]
    ) -> None:
        failure: Exception = BrokerUnavailable("This gateway is stopping; try again.")
        results: list[Any] = []
        try:
            results = await self._apply(holder, [change for change, _ in batch])
        except BrokerUnavailable as error:
            failure = error
        finally:
            # Also when this task is cancelled: somebody waits for each of them.
            for index, (_, future) in enumerate(batch):
                if future.done():
                    continue
                if results:
                    future.set_result(results[index])
                else:
                    future.set_exception(failure)

    async def _apply(self, holder: str, changes: Sequence[Change[Any]]) -> list[Any]:
        for _ in range(_TRIES):
            held = await self._store.get(holder)
            before = held.readings if held is not None else {}
            readings, now = before, self._now()
            results = []
            for change in changes:
                readings, result = change(readings, now)
                results.append(result)
            if readings == before:
                return results
            revision = held.revision if held is not None else None
            lasts = max(0, max(readings.values()) - now) / SECOND
            if await self._store.set(holder, readings, revision, lasts + 1):
                return results
        raise BrokerUnavailable("Too many gateways count your usage at once; try again.")

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * SECOND)
