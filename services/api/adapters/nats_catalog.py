"""Feed the catalog: every put and purge of the bucket as it happens, the rest by replay.

A KV put is an ordinary publish, so a plain subscription hears it at once, and survives a broker
that comes back with an empty store.
"""

from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.completions.catalog import Catalog
from shared.contracts import streams, subjects
from shared.contracts.workers import WorkerAnnouncement
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket, is_gone
from shared.messaging.jetstream import JetStream

log = structlog.stdlib.get_logger(__name__)

_WORKERS: Final = "worker"


class NatsCatalogFeed:
    """Keeps a ``Catalog`` true, and knows which models there were in the last day."""

    def __init__(self, client: Client, jetstream: JetStream, catalog: Catalog) -> None:
        self._client = client
        self._jetstream = jetstream
        self._catalog = catalog
        self._bucket = Bucket(jetstream, streams.CATALOG)
        self._subject = self._bucket.subject(f"{_WORKERS}.*")
        self._prefix = len(self._subject) - 1
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listen from now on; ``refresh`` reads what was said before."""
        self._subscription = await self._client.subscribe(self._subject, cb=self._receive)

    async def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def refresh(self) -> None:
        """Read the bucket; if that fails, the next puts of all workers come within 4 s."""
        stream = streams.bucket_stream(streams.CATALOG)
        try:
            with refusals_mean_unavailable():
                async for stored in self._jetstream.replay(stream, self._subject):
                    self._take(stored.subject, stored.data, stored.headers, stored=True)
        except BrokerUnavailable as error:
            log.info("catalog_not_read", error=str(error))

    async def seen(self, model: str) -> bool:
        """Whether any worker has offered ``model`` in the last 24 h."""
        if self._catalog.find(model) is not None:
            return True
        # Workers put it, with a time to live of a day.
        with refusals_mean_unavailable():
            return await self._bucket.get(f"model.{subjects.model_slug(model)}") is not None

    async def _receive(self, message: Msg) -> None:
        self._take(message.subject, message.data, message.headers, stored=False)

    def _take(self, subject: str, data: bytes, headers: object, *, stored: bool) -> None:
        if is_gone(headers):
            self._catalog.remove(subject[self._prefix :])
            return
        try:
            announcement = WorkerAnnouncement.from_bytes(data)
        except ValidationError:
            log.warning("announcement_malformed", subject=subject)
            return
        self._catalog.put(announcement, stored=stored)
