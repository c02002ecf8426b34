"""``QueueNotes``, ``Depths`` and ``Announcements``: the queue as all gateways see it."""

from contextlib import suppress
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.queue import Waiting
from services.api.ports.queue_news import Depth
from shared.contracts import streams
from shared.contracts.completions import RunCompletion
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.contracts.jetstream_api import consumer_info
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream

log = structlog.stdlib.get_logger(__name__)

_PREFIX: Final = "queued."


class NatsQueueNotes:
    """Keys beside the tombstones, with the same time to live."""

    def __init__(self, client: Client, jetstream: JetStream, *, ttl: float) -> None:
        self._client = client
        self._jetstream = jetstream
        self._bucket = Bucket(jetstream, streams.CANCELLATIONS)
        self._headers = {"Nats-TTL": str(int(ttl))}

    async def note(self, completion_id: CompletionId, number: int) -> None:
        """Publish without waiting for the stream: admission must not cost a round trip more."""
        # Who finds no note leaves a cancel to the tombstone.
        with suppress(nats.errors.Error, OSError):
            await self._client.publish(
                self._bucket.subject(_PREFIX + completion_id),
                str(number).encode(),
                headers=self._headers,
            )

    async def find(self, completion_id: CompletionId) -> Waiting | None:
        """The request behind the note, and whether anything was sent in answer to it."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(_PREFIX + completion_id)
            if entry is None:
                return None
            number = int(entry.value)
            stored = await self._jetstream.by_sequence(streams.REQUESTS, number)
            if stored is None:
                return None
            try:
                command = RunCompletion.from_bytes(stored.data)
            except ValidationError:
                log.warning("queued_request_malformed", number=number)
                return None
            if command.completion_id != completion_id:
                # A broker that has lost its data gives numbers anew.
                return None
            begun = await self._jetstream.last(streams.CHUNKS, command.reply_subject) is not None
        return Waiting(number, command, begun)


class NatsDepths:
    """What the workers' durables say."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def look(self, model: str, lane: str) -> Depth:
        """Ask for the durable of one lane."""
        name = streams.request_consumer(model, lane)
        with refusals_mean_unavailable():
            info = await self._jetstream.api(consumer_info(streams.REQUESTS, name))
        delivered = info["delivered"]
        return Depth(info["num_pending"], delivered["consumer_seq"], delivered["stream_seq"])


class NatsAnnouncements:
    """``END`` frames of the gateways' own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ended(self, reply_subject: str, end: CompletionCompleted) -> None:
        """Send the frame where the worker would have sent it."""
        with suppress(nats.errors.Error, OSError):
            await self._client.publish(reply_subject, end_frame(end).to_bytes())
