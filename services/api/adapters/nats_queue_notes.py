"""``QueueNotes``, ``Depths`` and ``Announcements``: the queue as all gateways see it."""

from contextlib import aclosing, suppress
from datetime import datetime
from math import inf
from typing import Final

import structlog
from nats.aio.client import Client
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.queue import Waiting
from services.api.ports.queue_news import Depth
from shared.contracts import streams, subjects
from shared.contracts.completions import RunCompletion
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.contracts.jetstream_api import consumer_info
from shared.contracts.subjects import LANES
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream, StoredMessage
from shared.messaging.lost import LOST

log = structlog.stdlib.get_logger(__name__)

_PREFIX: Final = "queued."
_FEW: Final = 16
"""Requests that are read at once: each may be megabytes."""


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
        with suppress(*LOST):
            await self._client.publish(
                self._bucket.subject(_PREFIX + completion_id),
                str(number).encode(),
                headers=self._headers,
            )

    async def find(self, completion_id: CompletionId) -> Waiting | None:
        """The request behind the note, and whether anything was sent in answer to it."""
        stored = await self._noted(completion_id)
        command = _request_of(completion_id, stored)
        if stored is None or command is None:
            return None
        return Waiting(stored.sequence, command, await self.begun(command.reply_subject))

    async def waits(self, completion_id: CompletionId) -> bool:
        """The broker gives messages whole; this one is not taken apart, and its log not asked."""
        return _is_of(completion_id, await self._noted(completion_id))

    async def _noted(self, completion_id: CompletionId) -> StoredMessage | None:
        # A broker that has lost its data gives numbers anew: it may be another one's.
        with refusals_mean_unavailable():
            entry = await self._bucket.get(_PREFIX + completion_id)
            if entry is None:
                return None
            return await self._jetstream.by_sequence(streams.REQUESTS, int(entry.value))

    async def search(self, accepted: CompletionAccepted) -> Waiting | None:
        """Read the lane from the broker's time of ``accepted`` on."""
        completion_id = accepted.completion_id
        subject = subjects.requests(accepted.model, accepted.lane or "*")
        with refusals_mean_unavailable():
            event = await self._jetstream.last(streams.EVENTS, subjects.accepted(completion_id))
            start = 1
            if event is not None:
                first = await self._jetstream.since(streams.REQUESTS, event.time)
                if first is None:
                    return None
                start = first.sequence
            replay = self._jetstream.replay(streams.REQUESTS, subject, start=start, batch=_FEW)
            async with aclosing(replay) as requests:
                async for stored in requests:
                    command = _request_of(completion_id, stored)
                    if command is not None:
                        begun = await self.begun(command.reply_subject)
                        return Waiting(stored.sequence, command, begun)
        return None

    async def age(self, accepted: CompletionAccepted) -> float:
        """What the server says of the durable that the request is for, it says with its time."""
        durable = streams.request_consumer(accepted.model, accepted.lane or LANES[0])
        with refusals_mean_unavailable():
            event = await self._jetstream.last(
                streams.EVENTS, subjects.accepted(accepted.completion_id)
            )
            info = await self._jetstream.api(consumer_info(streams.REQUESTS, durable))
        now = datetime.fromisoformat(info["ts"])
        # One that is not kept any more is older than anything that matters.
        return (now - event.time).total_seconds() if event is not None else inf

    async def begun(self, reply_subject: str) -> bool:
        """Whether the log has a frame."""
        with refusals_mean_unavailable():
            return await self._jetstream.last(streams.CHUNKS, reply_subject) is not None


def _is_of(completion_id: CompletionId, stored: StoredMessage | None) -> bool:
    # A prompt may say the same, but its quotation marks are escaped.
    said = b'"completion_id":"%s"' % completion_id.encode()
    return stored is not None and said in stored.data


def _request_of(completion_id: CompletionId, stored: StoredMessage | None) -> RunCompletion | None:
    if stored is None or not _is_of(completion_id, stored):
        return None
    try:
        command = RunCompletion.from_bytes(stored.data)
    except ValidationError:
        log.warning("queued_request_malformed", number=stored.sequence)
        return None
    return command if command.completion_id == completion_id else None


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
        with suppress(*LOST):
            await self._client.publish(reply_subject, end_frame(end).to_bytes())
