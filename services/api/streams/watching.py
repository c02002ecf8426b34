"""Which completions this gateway has viewers of; it says so, lest their workers stop."""

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import structlog

from services.api.forever import forever
from services.api.ports.broker import Clock
from services.api.ports.viewers import Watchers
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_EVERY: Final = 5.0
_HEARD_FOR: Final = 1.4
"""How many intervals a word of another gateway counts: one may be late, two missing mean none."""


class Watching:
    """Counts viewers by completion; one task speaks for all of them."""

    def __init__(self, watchers: Watchers, clock: Clock, *, grace: float) -> None:
        """Nobody watches yet.

        Args:
            watchers: How to say it.
            clock: When the last viewer left.
            grace: Seconds in which a viewer may come back: a short one is said more often.
        """
        self._watchers = watchers
        self._clock = clock
        self._every = min(_EVERY, grace / 3) if grace else _EVERY
        self._viewers: Counter[CompletionId] = Counter()
        self._left: dict[CompletionId, float] = {}
        self._graces: Counter[CompletionId] = Counter()

    @property
    def heard_for(self) -> float:
        """Seconds for which a word of another gateway counts."""
        return self._every * _HEARD_FOR

    def enter(self, completion_id: CompletionId) -> None:
        """Somebody here watches."""
        self._viewers[completion_id] += 1

    def leave(self, completion_id: CompletionId) -> None:
        """Somebody does not any more."""
        self._viewers[completion_id] -= 1
        if self._viewers[completion_id] <= 0:
            del self._viewers[completion_id]
        if completion_id in self._left:
            self._left[completion_id] = self._clock.monotonic()

    def has_viewer(self, completion_id: CompletionId) -> bool:
        """Whether somebody here watches."""
        return completion_id in self._viewers

    def in_grace(self, completion_id: CompletionId) -> bool:
        """Whether a grace runs here: it also counts for a viewer who comes and goes meanwhile."""
        return completion_id in self._left

    def left_at(self, completion_id: CompletionId) -> float:
        """When the last viewer here has left a completion that is in its grace."""
        return self._left[completion_id]

    @contextmanager
    def grace(self, completion_id: CompletionId) -> Generator[None]:
        """Go on watching, as long as this lasts.

        Two may overlap: who asked and who follows may both leave with one connection of a proxy's.
        """
        self._left[completion_id] = self._clock.monotonic()
        self._graces[completion_id] += 1
        try:
            yield
        finally:
            self._graces[completion_id] -= 1
            if not self._graces[completion_id]:
                del self._graces[completion_id], self._left[completion_id]

    async def tell(self, completion_id: CompletionId) -> None:
        """Say it now: elsewhere a grace may be about to end."""
        try:
            await self._watchers.say(completion_id, grace=False)
        except BrokerUnavailable:
            log.debug("watching_not_said", completion_id=completion_id)

    async def keep(self) -> None:
        """Say it every few seconds, for ever."""
        await asyncio.sleep(self._every)
        await forever(self.tell_all, self._every, "watching")

    async def tell_all(self) -> None:
        """Say it once for all."""
        try:
            for completion_id in list(self._viewers):
                await self._watchers.say(completion_id, grace=False)
            for completion_id in self._left.keys() - self._viewers.keys():
                await self._watchers.say(completion_id, grace=True)
        except BrokerUnavailable:
            log.info("watching_not_said", viewers=len(self._viewers))
