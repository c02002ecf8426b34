"""KV buckets with a time to live per key: what nats-py's ``KeyValue`` cannot do on update.

nats-py's ``update()`` and ``put()`` drop the TTL, so a renewed lease would live for ever; these
calls publish to the bucket's stream directly, as any KV client does (ADR-8, ADR-48).
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.clock import utc_now
from shared.contracts.jetstream_api import bucket_key, stream_info
from shared.contracts.streams import bucket_stream
from shared.messaging.jetstream import TTL, AlreadyPublished, JetStream, StoredMessage

_OPERATION = "KV-Operation"
_GONE = frozenset({"DEL", "PURGE"})
_TRIES = 4
_LATE = timedelta(seconds=30)
"""What the broker may need to remove what has expired; it looks every few seconds."""


class Entry(NamedTuple):
    """A live value; ``revision`` is what a later ``update`` must name."""

    value: bytes
    revision: int
    age: float = 0.0
    """Seconds since it was written, by this machine's clock and the broker's."""


class Bucket:
    """One KV bucket. Keys are of ``[-/_=.a-zA-Z0-9]``: hash whatever comes from outside."""

    def __init__(
        self, jetstream: JetStream, name: str, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._jetstream = jetstream
        self._name = name
        self._now = now
        self._stream = bucket_stream(name)

    def subject(self, key: str) -> str:
        """The subject that holds ``key``."""
        return bucket_key(self._name, key)

    async def get(self, key: str) -> Entry | None:
        """The value, or ``None`` if the key is absent, deleted or expired."""
        message = await self._jetstream.last(self._stream, self.subject(key))
        if message is None or await self._is_over(message):
            return None
        age = (self._now() - message.time).total_seconds()
        return Entry(message.data, message.sequence, max(age, 0.0))

    async def put(self, key: str, value: bytes, *, ttl: float | None = None) -> int:
        """Set the value whatever stands there; gives the revision."""
        return await self._jetstream.publish(self.subject(key), value, ttl=ttl)

    async def create(self, key: str, value: bytes, *, ttl: float | None = None) -> int:
        """Set the value of an absent key; gives the revision.

        Raises:
            AlreadyPublished: the key has a value.
        """
        subject = self.subject(key)
        expected = 0
        for tries_left in reversed(range(_TRIES)):
            try:
                return await self._jetstream.publish(
                    subject, value, expected_last=expected, ttl=ttl
                )
            except AlreadyPublished:
                # A deleted key keeps a marker, whose revision the new value must follow; it goes
                # by itself, perhaps just now.
                message = await self._jetstream.last(self._stream, subject)
                if not tries_left or (message is not None and not await self._is_over(message)):
                    raise
                expected = message.sequence if message is not None else 0
        raise AssertionError("the last try returns or raises")

    async def update(
        self, key: str, value: bytes, revision: int, *, ttl: float | None = None
    ) -> int:
        """Replace the value of ``revision``; gives the new revision.

        Raises:
            AlreadyPublished: the key has changed or expired since.
        """
        return await self._jetstream.publish(
            self.subject(key), value, expected_last=revision, ttl=ttl
        )

    async def purge(self, key: str, *, revision: int | None = None) -> None:
        """Remove the key; its marker goes after a second, so that it can be created again at once.

        Raises:
            AlreadyPublished: the key has another revision than ``revision``.
        """
        await self._jetstream.publish(
            self.subject(key),
            b"",
            expected_last=revision,
            ttl=1,
            headers={_OPERATION: "PURGE", "Nats-Rollup": "sub"},
        )

    async def _is_over(self, message: StoredMessage) -> bool:
        """Whether the key is gone, or has come back from the dead.

        nats-server 2.15 with ``persist_mode: async``, killed with -9, brings keys back that had
        expired and no longer knows their TTL: a lease would be held for ever.
        """
        if is_gone(message.headers):
            return True
        ttl = message.headers.get(TTL)
        if ttl is None:
            return False
        lasts = timedelta(seconds=int(ttl)) + _LATE
        if self._now() - message.time <= lasts:
            return False
        # Or this machine's clock is ahead: then living leases would be taken from their owners, and
        # what was counted be forgotten. The broker knows its own time.
        info = await self._jetstream.api(stream_info(self._stream))
        return datetime.fromisoformat(info["ts"]) - message.time > lasts


def is_gone(headers: object) -> bool:
    """Whether a bucket's message says that its key is no more: deleted, purged or expired."""
    if not isinstance(headers, dict):
        return False
    return headers.get(_OPERATION) in _GONE or "Nats-Marker-Reason" in headers
