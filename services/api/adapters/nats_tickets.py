"""``Tickets`` in the bucket ``idempotency``: things that are done once, kept for a short time."""

from typing import Final

from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.tickets import TicketEntry
from shared.contracts import streams
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream

_PLACE: Final = "ticket."


class NatsTickets:
    """Created once, purged by its revision: of all who try, one succeeds."""

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(jetstream, streams.IDEMPOTENCY)

    async def put(self, digest: str, entry: TicketEntry, ttl: float) -> None:
        """See the port."""
        with refusals_mean_unavailable():
            await self._bucket.create(f"{_PLACE}{digest}", entry.to_bytes(), ttl=ttl)

    async def take(self, digest: str) -> TicketEntry | None:
        """See the port."""
        key = f"{_PLACE}{digest}"
        with refusals_mean_unavailable():
            held = await self._bucket.get(key)
            if held is None:
                return None
            try:
                await self._bucket.purge(key, revision=held.revision)
            except AlreadyPublished:
                return None
        try:
            return TicketEntry.from_bytes(held.value)
        except ValidationError:
            return None
