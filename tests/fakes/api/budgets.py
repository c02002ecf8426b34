"""Counters of budgets, in memory."""

import itertools

from services.api.ports.budgets import Counter, HeldCounter
from shared.errors import BrokerUnavailable


class FakeCounters:
    def __init__(self) -> None:
        self.entries: dict[str, HeldCounter] = {}
        self.away = False
        self.reads = 0
        self._revisions = itertools.count(1)

    async def get(self, key: str) -> HeldCounter | None:
        self.reads += 1
        self._must_be_there()
        return self.entries.get(key)

    async def set(self, key: str, counter: Counter, revision: int | None, ttl: float) -> bool:
        self._must_be_there()
        held = self.entries.get(key)
        if (held.revision if held is not None else None) != revision:
            return False
        self.entries[key] = HeldCounter(counter, next(self._revisions))
        return True

    def _must_be_there(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")
