"""``Keys`` over the bucket ``idempotency``."""

from contextlib import suppress

import structlog
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.keys import HeldKey, KeyEntry
from shared.contracts import streams
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream

log = structlog.stdlib.get_logger(__name__)


class NatsKeys:
    """Compare and set; every write lives for the whole time to live."""

    def __init__(self, jetstream: JetStream, *, ttl: float) -> None:
        self._bucket = Bucket(jetstream, streams.IDEMPOTENCY)
        self._ttl = ttl

    async def get(self, key: str) -> HeldKey | None:
        """The entry, or ``None``."""
        with refusals_mean_unavailable():
            stored = await self._bucket.get(key)
        if stored is None:
            return None
        try:
            return HeldKey(KeyEntry.from_bytes(stored.value), stored.revision)
        except ValidationError:
            log.warning("key_malformed")
            await self.release(key, stored.revision)
            return None

    async def set(self, key: str, entry: KeyEntry, revision: int | None) -> int | None:
        """Replace the entry of ``revision``; ``None`` if it has changed."""
        value = entry.to_bytes()
        with refusals_mean_unavailable():
            try:
                if revision is None:
                    return await self._bucket.create(key, value, ttl=self._ttl)
                return await self._bucket.update(key, value, revision, ttl=self._ttl)
            except AlreadyPublished:
                return None

    async def release(self, key: str, revision: int) -> None:
        """Purge the entry of ``revision``."""
        with refusals_mean_unavailable(), suppress(AlreadyPublished):
            await self._bucket.purge(key, revision=revision)
