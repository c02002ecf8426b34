"""Feed the ring of API keys from the bucket ``keys``: at once what is said, and all of it anew.

A plain subscription hears a put within milliseconds; what it misses is read a second later. After
each reconnect the bucket is read from its start, as the broker may have lost its store.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from services.api.access.departures import Departures
from services.api.access.key_ring import KeyRing
from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.forever import forever
from shared.contracts import streams
from shared.contracts.api_keys import COMPLETE, COPY, IS_COMPLETE, KeyCopy
from shared.contracts.user_purge import OVER, UNDER_WAY, WORD
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket, is_gone
from shared.messaging.copies import is_copy, is_stored_copy
from shared.messaging.jetstream import NOT_FOUND, ApiError, JetStream, StoredMessage

log = structlog.stdlib.get_logger(__name__)

_AT_ONCE: Final = 100
_LOOK_EVERY: Final = 0.5
"""Seconds: half of what a revocation may take where the subscription has not heard it."""


def connection_of(client: Client) -> int | None:
    """The number of the connection to the broker; ``None`` while there is none."""
    return int(client.stats["reconnects"]) if client.is_connected else None


class NatsKeyFeed:
    """Keeps a ``KeyRing`` true, and knows the users whose data is being removed."""

    def __init__(
        self, client: Client, jetstream: JetStream, ring: KeyRing, departures: Departures
    ) -> None:
        self._departures = departures
        self._client = client
        self._jetstream = jetstream
        self._ring = ring
        bucket = Bucket(jetstream, streams.KEYS)
        self._subject = bucket.subject(">")
        self._copies = bucket.subject(COPY)
        self._words = bucket.subject(WORD)
        self._complete = bucket.subject(COMPLETE)
        self._stream = streams.bucket_stream(streams.KEYS)
        self._next = 1
        self._looked_at: dict[str, tuple[int, datetime]] = {}
        """Where and when the messages stand that are known to be history's own."""
        self._said_complete = asyncio.Event()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listen from now on; ``watch`` reads what was said before."""
        self._subscription = await self._client.subscribe(self._subject, cb=self._receive)

    async def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def _load(self) -> None:
        connection = connection_of(self._client)
        if connection is None:
            return
        self._ring.begin()
        self._departures.begin()
        copies: dict[str, KeyCopy] = {}
        departing: set[str] = set()
        complete, following = False, 1
        with refusals_mean_unavailable():
            # Behind the subscription on the same connection: nothing is missed between the two.
            held = [it async for it in self._jetstream.replay(self._stream, self._subject)]
            following = held[-1].sequence + 1 if held else 1
            for stored in await self._own([it for it in held if not is_gone(it.headers)]):
                if stored.subject == self._complete:
                    complete = stored.data == IS_COMPLETE
                copy = self._read(stored.subject, stored.data)
                if copy is not None:
                    copies[stored.subject[len(self._copies) :]] = copy
                if stored.subject.startswith(self._words) and stored.data == UNDER_WAY:
                    departing.add(stored.subject.removeprefix(self._words))
        self._next = following
        if not complete:
            # A new bucket: history has yet to fill it, and an empty one would mean that nobody
            # has a key.
            return
        # The users first: who knows the keys lets them in.
        self._departures.replace(departing)
        self._ring.replace(copies, connection)
        log.info("keys_loaded", count=len(copies))

    async def watch(self) -> None:
        """For ever: read what is not read yet."""
        await forever(self.refresh, _LOOK_EVERY, "watch-keys", sooner=self._said_complete)

    async def refresh(self) -> None:
        """Read what is not read yet; if that fails, the next time."""
        try:
            if self._ring.loaded:
                await self._catch_up()
            else:
                await self._load()
        except BrokerUnavailable as error:
            log.info("keys_not_read", error=str(error))

    async def _catch_up(self) -> None:
        with refusals_mean_unavailable():
            async for stored in self._jetstream.replay(
                self._stream, self._subject, start=self._next
            ):
                if not await self._is_copied(stored):
                    self._take(stored.subject, stored.data)
                self._next = stored.sequence + 1

    async def _own(self, held: Sequence[StoredMessage]) -> list[StoredMessage]:
        """Those that history has put there, some at a time."""
        own: list[StoredMessage] = []
        for start in range(0, len(held), _AT_ONCE):
            some = held[start : start + _AT_ONCE]
            copied = await asyncio.gather(*map(self._is_copied, some))
            own += [it for it, is_copied in zip(some, copied, strict=True) if not is_copied]
        return own

    async def _is_copied(self, stored: StoredMessage) -> bool:
        """Whether it was not history that put it there."""
        at = (stored.sequence, stored.time)
        if self._looked_at.get(stored.subject) == at:
            return False
        try:
            head = await self._jetstream.stored_head(self._stream, stored.sequence)
        except ApiError as error:
            if error.err_code not in NOT_FOUND:
                raise
            # Replaced meanwhile: what is there now comes behind it.
            return True
        if is_stored_copy(head):
            log.error("copy_refused", subject=stored.subject)
            return True
        self._looked_at[stored.subject] = at
        return False

    async def _receive(self, message: Msg) -> None:
        if is_copy(message.headers):
            log.error("copy_refused", subject=message.subject)
            return
        if message.subject == self._complete:
            self._said_complete.set()
        self._take(message.subject, message.data)

    def _take(self, subject: str, data: bytes) -> None:
        copy = self._read(subject, data)
        if copy is not None:
            self._ring.hear(subject[len(self._copies) :], copy)
        # Nothing else is a word: a worker can have a request that it pulls delivered there.
        if subject.startswith(self._words) and data in (UNDER_WAY, OVER):
            digest = subject.removeprefix(self._words)
            self._departures.hear(digest, under_way=data == UNDER_WAY)

    def _read(self, subject: str, data: bytes) -> KeyCopy | None:
        if not subject.startswith(self._copies):
            return None
        try:
            return KeyCopy.from_bytes(data)
        except ValidationError:
            log.warning("key_malformed")
            return None
