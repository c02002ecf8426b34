"""``MeterStore`` and ``Slots`` over the bucket ``limits``."""

from collections.abc import Mapping
from typing import Final

import orjson
import structlog

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.limits import HeldMeter, HeldSlot
from shared.contracts import streams
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream

log = structlog.stdlib.get_logger(__name__)

LEASE_TTL: Final = 15.0


class NatsMeters:
    """Compare and set, with a time to live on every write."""

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(jetstream, streams.LIMITS)

    async def get(self, holder: str) -> HeldMeter | None:
        """The readings, or ``None``."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(f"meter.{holder}")
        if entry is None:
            return None
        return HeldMeter(_readings(entry.value), entry.revision)

    async def set(
        self, holder: str, readings: Mapping[str, int], revision: int | None, ttl: float
    ) -> bool:
        """Replace the readings of ``revision``; false if they have changed."""
        key, value = f"meter.{holder}", orjson.dumps(dict(readings))
        with refusals_mean_unavailable():
            try:
                if revision is None:
                    await self._bucket.create(key, value, ttl=ttl)
                else:
                    await self._bucket.update(key, value, revision, ttl=ttl)
            except AlreadyPublished:
                return False
        return True


class NatsSlots:
    """One key for each slot."""

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(jetstream, streams.LIMITS)

    async def take(self, holder: str, slot: int, owner: str) -> int | None:
        """Create the key."""
        with refusals_mean_unavailable():
            try:
                return await self._bucket.create(_key(holder, slot), owner.encode(), ttl=LEASE_TTL)
            except AlreadyPublished:
                return None

    async def renew(self, holder: str, slot: int, owner: str, revision: int) -> int | None:
        """Write it again, for nothing else renews its time to live."""
        key = _key(holder, slot)
        with refusals_mean_unavailable():
            try:
                return await self._bucket.update(key, owner.encode(), revision, ttl=LEASE_TTL)
            except AlreadyPublished:
                return None

    async def find(self, holder: str, slot: int) -> HeldSlot | None:
        """Read the key."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(_key(holder, slot))
        if entry is None:
            return None
        return HeldSlot(entry.value.decode(errors="replace"), entry.revision)

    async def release(self, holder: str, slot: int, revision: int) -> bool:
        """Purge the key: a mere delete would leave a marker that no time to live removes."""
        with refusals_mean_unavailable():
            try:
                await self._bucket.purge(_key(holder, slot), revision=revision)
            except AlreadyPublished:
                return False
        return True


def _key(holder: str, slot: int) -> str:
    return f"lease.{holder}.{slot}"


def _readings(value: bytes) -> dict[str, int]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict) or not all(type(each) is int for each in parsed.values()):
        # Nobody but gateways writes here; what a later one writes differently counts from zero.
        log.warning("meter_malformed")
        return {}
    return parsed
