"""What callers use, in memory."""

import itertools
from collections.abc import Mapping

from services.api.ports.broker import Clock
from services.api.ports.limits import HeldMeter, HeldSlot
from shared.errors import BrokerUnavailable

TTL = 15.0


class FakeMeters:
    def __init__(self) -> None:
        self.entries: dict[str, HeldMeter] = {}
        self.away = False
        self.reads = 0
        self._revisions = itertools.count(1)

    async def get(self, holder: str) -> HeldMeter | None:
        self.reads += 1
        self._must_be_there()
        return self.entries.get(holder)

    async def set(
        self, holder: str, readings: Mapping[str, int], revision: int | None, ttl: float
    ) -> bool:
        self._must_be_there()
        held = self.entries.get(holder)
        if (held.revision if held is not None else None) != revision:
            return False
        self.entries[holder] = HeldMeter(dict(readings), next(self._revisions))
        return True

    def _must_be_there(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


class FakeSlots:
    """Leases run out by ``clock``."""

    def __init__(self, clock: Clock) -> None:
        self.away = False
        self._clock = clock
        self._held: dict[tuple[str, int], tuple[HeldSlot, float]] = {}
        self._revisions = itertools.count(1)

    @property
    def held(self) -> int:
        """How many slots are held, of anybody's."""
        return sum(until > self._clock.monotonic() for _, until in self._held.values())

    def lose_all(self) -> None:
        """As if all of them had run out."""
        self._held.clear()

    async def take(self, holder: str, slot: int, owner: str) -> int | None:
        if await self.find(holder, slot) is not None:
            return None
        return self._hold(holder, slot, owner)

    async def renew(self, holder: str, slot: int, owner: str, revision: int) -> int | None:
        held = await self.find(holder, slot)
        if held is None or held.revision != revision:
            return None
        return self._hold(holder, slot, owner)

    async def find(self, holder: str, slot: int) -> HeldSlot | None:
        if self.away:
            raise BrokerUnavailable("away")
        held, until = self._held.get((holder, slot), (None, 0.0))
        return held if until > self._clock.monotonic() else None

    async def release(self, holder: str, slot: int, revision: int) -> bool:
        held = await self.find(holder, slot)
        if held is None or held.revision != revision:
            return False
        del self._held[holder, slot]
        return True

    def _hold(self, holder: str, slot: int, owner: str) -> int:
        revision = next(self._revisions)
        until = self._clock.monotonic() + TTL
        self._held[holder, slot] = (HeldSlot(owner, revision), until)
        return revision
