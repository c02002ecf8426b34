"""The right to run one more answer at once: a lease that heals by itself when its gateway dies."""

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Final

import structlog

from services.api.background import Background
from services.api.forever import forever
from services.api.ports.limits import Slots
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

RENEW_EVERY: Final = 5.0
_TRIES: Final = 30
_PAUSE: Final = 0.5
"""Seconds between tries to give back: all of them together are as long as a lease lives."""


@dataclass(eq=False)
class Lease:
    """One slot of a holder's."""

    holder: str
    slot: int
    owner: str
    revision: int
    released: bool = False
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)


class Leases:
    """Leases of this gateway; ``keep`` renews them all in one task."""

    def __init__(self, slots: Slots, background: Background) -> None:
        self._slots = slots
        self._background = background
        self._leases: set[Lease] = set()
        self._mine: dict[str, set[int]] = {}
        """Slots that this gateway holds, takes or gives back: nobody here need ask for them."""

    async def take(self, holder: str, most: int, owner: str) -> Lease | None:
        """Hold one of ``most`` slots; ``None`` if all of them are held.

        Args:
            holder: Whose.
            most: How many there are.
            owner: A name that nobody else has.

        Raises:
            BrokerUnavailable: no answer; what may have been taken is given back.
        """
        # Gateways that take at once begin at different slots.
        first = zlib.crc32(owner.encode())
        for slot in ((first + step) % most for step in range(most)):
            if slot in self._mine.get(holder, ()):
                continue
            self._mine.setdefault(holder, set()).add(slot)
            try:
                revision = await self._slots.take(holder, slot, owner)
            except BaseException:
                lease = Lease(holder, slot, owner, 0)
                self._background.spawn(self._release_patiently(lease), "undo-lease")
                raise
            if revision is not None:
                lease = Lease(holder, slot, owner, revision)
                self._leases.add(lease)
                return lease
            self._let_go(holder, slot)
        return None

    async def release(self, lease: Lease) -> None:
        """Let the slot go, now or as soon as the broker is there; what was lost is left alone."""
        self._leases.discard(lease)
        try:
            await self._release(lease)
        except BrokerUnavailable:
            self._background.spawn(self._release_patiently(lease), "release-lease")
        except BaseException:
            # Who waited for it goes away in the middle: for this gateway it would be held for ever.
            self._background.spawn(self._release_patiently(lease), "release-lease")
            raise

    def forget(self, lease: Lease) -> None:
        """Renew it no more: it runs out by itself."""
        self._leases.discard(lease)
        lease.released = True
        self._let_go(lease.holder, lease.slot)

    async def keep(self) -> None:
        """Renew all leases every few seconds, for ever; one that is lost ends no answer."""
        await asyncio.sleep(RENEW_EVERY)
        await forever(self.renew, RENEW_EVERY, "renew-leases")

    async def renew(self) -> None:
        """Renew all leases once."""
        await asyncio.gather(*(self._renew(lease) for lease in list(self._leases)))

    async def _release(self, lease: Lease) -> None:
        async with lease.guard:
            if lease.released:
                return
            slot = (lease.holder, lease.slot)
            if not await self._slots.release(*slot, lease.revision):
                held = await self._slots.find(*slot)
                if held is not None and held.owner == lease.owner:
                    await self._slots.release(*slot, held.revision)
            lease.released = True
        self._let_go(*slot)

    async def _release_patiently(self, lease: Lease) -> None:
        for _ in range(_TRIES):
            try:
                await self._release(lease)
            except BrokerUnavailable:
                await asyncio.sleep(_PAUSE)
            else:
                return
        log.warning("lease_not_released")
        self._let_go(lease.holder, lease.slot)

    async def _renew(self, lease: Lease) -> None:
        async with lease.guard:
            if lease.released or lease not in self._leases:
                return
            slot = (lease.holder, lease.slot)
            try:
                revision = await self._slots.renew(*slot, lease.owner, lease.revision)
                if revision is None:
                    # It ran out while the broker was away, or somebody else holds it.
                    revision = await self._retake(lease)
            except BrokerUnavailable:
                log.info("lease_not_renewed")
                return
            if revision is None:
                log.warning("lease_lost")
                self.forget(lease)
            else:
                lease.revision = revision

    async def _retake(self, lease: Lease) -> int | None:
        slot = (lease.holder, lease.slot)
        held = await self._slots.find(*slot)
        if held is None:
            return await self._slots.take(*slot, lease.owner)
        if held.owner == lease.owner:
            return await self._slots.renew(*slot, lease.owner, held.revision)
        return None

    def _let_go(self, holder: str, slot: int) -> None:
        mine = self._mine.get(holder)
        if mine is not None:
            mine.discard(slot)
            if not mine:
                del self._mine[holder]
