"""``Tickets`` in the bucket ``idempotency``: things that are done once, kept for a short time."""

from typing import Final

import structlog
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.tickets import TicketEntry
from shared.contracts import streams
from shared.messaging.buckets import Bucket
from shared.messaging.copies import is_stored_copy
from shared.messaging.jetstream import NOT_FOUND, AlreadyPublished, ApiError, JetStream

_PLACE: Final = "ticket."

log = structlog.stdlib.get_logger(__name__)


class NatsTickets:
    """Created once, purged by its revision: of all who try, one succeeds."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._bucket = Bucket(jetstream, streams.IDEMPOTENCY)
        self._stream = streams.bucket_stream(streams.IDEMPOTENCY)

    async def put(self, digest: str, entry: TicketEntry, ttl: float) -> None:
        """See the port."""
        with refusals_mean_unavailable():
            await self._bucket.create(f"{_PLACE}{digest}", entry.to_bytes(), ttl=ttl)

    async def take(self, digest: str) -> TicketEntry | None:
        """See the port."""
        key = f"{_PLACE}{digest}"
        with refusals_mean_unavailable():
            held = await self._bucket.get(key)
            if held is None or await self._is_copied(held.revision):
                return None
            try:
                await self._bucket.purge(key, revision=held.revision)
            except AlreadyPublished:
                return None
        try:
            return TicketEntry.from_bytes(held.value)
        except ValidationError:
            return None

    async def _is_copied(self, revision: int) -> bool:
        """Whether no gateway has put it there: whoever did may have written any name into it."""
        try:
            head = await self._jetstream.stored_head(self._stream, revision)
        except ApiError as error:
            if error.err_code not in NOT_FOUND:
                raise
            # Somebody else has just taken it.
            return True
        if is_stored_copy(head):
            log.error("copy_refused", bucket=streams.IDEMPOTENCY)
            return True
        return False
