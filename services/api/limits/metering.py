"""Readings that all gateways change together: whoever reads them first writes them, or reads again.

What many requests want of one holder at the same time is done in one go, see ``batching``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from services.api.background import Background
from services.api.limits.batching import Batching
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


class Metering:
    """The readings of all holders, as far as this gateway changes them."""

    def __init__(self, store: MeterStore, clock: Clock, background: Background) -> None:
        self._store = store
        self._clock = clock
        late = "Your usage could not be counted; try again."
        self._batching: Batching[str, Change[Any]] = Batching(self._apply, background, late=late)

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
        return cast("_T", await self._batching.do(holder, change))

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
