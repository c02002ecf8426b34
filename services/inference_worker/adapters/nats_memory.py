"""What workers have found out about models: KV ``catalog``, for all workers and restarts."""

import hashlib
from typing import Final

from shared.contracts import streams
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import ApiError, JetStream

_KEPT: Final = 30 * 24 * 3600
_YES: Final = b"yes"
_NO: Final = b"no"


class NatsAbilityMemory:
    """``AbilityMemory`` in keys ``continues.<hash of the fingerprint>``."""

    def __init__(self, jetstream: JetStream) -> None:
        self._catalog = Bucket(jetstream, streams.CATALOG)

    async def recall(self, fingerprint: str) -> bool | None:
        """Read the key."""
        try:
            entry = await self._catalog.get(_key(fingerprint))
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error
        return None if entry is None else entry.value == _YES

    async def remember(self, fingerprint: str, *, able: bool) -> None:
        """Put the key, for a month."""
        try:
            await self._catalog.put(_key(fingerprint), _YES if able else _NO, ttl=_KEPT)
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error


def _key(fingerprint: str) -> str:
    return f"continues.{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}"
