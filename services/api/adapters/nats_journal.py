"""``Journal``, ``Queue``, ``Tombstones`` and ``FrameLog`` over JetStream."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final

import structlog
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.broker import AlreadyAccepted
from services.api.ports.keys import Mark
from shared.contracts import streams, subjects
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import Frame, MalformedFrame, parse_frame
from shared.contracts.ids import CompletionId
from shared.errors import HistoryBacklog, QueueFull
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream, LimitReached

log = structlog.stdlib.get_logger(__name__)

_ASKED: Final = b"asked"
_FORSAKEN: Final = b"1"


class NatsJournal:
    """Facts in ``CHAT_EVENTS``: first writer wins."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def accept(self, event: CompletionAccepted) -> None:
        """Record that somebody owes an end from here on."""
        subject = subjects.accepted(event.completion_id)
        with refusals_mean_unavailable():
            try:
                await self._jetstream.publish_once(subject, event.to_bytes())
            except LimitReached as error:
                message = "History is too far behind to take on more; try again later."
                raise HistoryBacklog(message) from error
            except AlreadyPublished as error:
                raise AlreadyAccepted from error

    async def complete(self, event: CompletionCompleted) -> CompletionCompleted:
        """Record the end; one that stands already stands."""
        subject = subjects.completed(event.completion_id)
        with refusals_mean_unavailable():
            try:
                await self._jetstream.publish_once(subject, event.to_bytes())
            except AlreadyPublished:
                log.info("end_stands_already", completion_id=event.completion_id)
                return await self.completed(event.completion_id) or event
        return event

    async def accepted(self, completion_id: CompletionId) -> CompletionAccepted | None:
        """What was taken on, or ``None`` where nobody knows of it."""
        with refusals_mean_unavailable():
            stored = await self._jetstream.last(streams.EVENTS, subjects.accepted(completion_id))
        if stored is None:
            return None
        try:
            return CompletionAccepted.from_bytes(stored.data)
        except ValidationError:
            log.warning("accepted_event_malformed", completion_id=completion_id)
            return None

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """The end of a completion, or ``None`` while it has none."""
        with refusals_mean_unavailable():
            stored = await self._jetstream.last(streams.EVENTS, subjects.completed(completion_id))
        if stored is None:
            return None
        try:
            return CompletionCompleted.from_bytes(stored.data)
        except ValidationError:
            log.warning("completed_event_malformed", completion_id=completion_id)
            return None


class NatsQueue:
    """Requests in ``CHAT_REQUESTS``; their number is the stream's sequence."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def enqueue(self, command: bytes, model: str, lane: str) -> int:
        """Queue a request."""
        with refusals_mean_unavailable():
            try:
                return await self._jetstream.publish(subjects.requests(model, lane), command)
            except LimitReached as error:
                message = "Too many requests wait for this model; try again in a moment."
                raise QueueFull(message) from error

    async def withdraw(self, number: int, completion_id: CompletionId) -> bool:
        """Take a request out again."""
        with refusals_mean_unavailable():
            stored = await self._jetstream.by_sequence(streams.REQUESTS, number)
            if stored is None or completion_id.encode() not in stored.data:
                return False
            return await self._jetstream.delete(streams.REQUESTS, number)


class NatsTombstones:
    """Keys of ``cancellations`` that outlive every deadline."""

    def __init__(self, jetstream: JetStream, *, ttl: float) -> None:
        self._bucket = Bucket(jetstream, streams.CANCELLATIONS)
        self._ttl = ttl

    async def put(self, completion_id: CompletionId, *, asked: bool = False) -> None:
        """Mark the completion."""
        with refusals_mean_unavailable():
            if asked:
                await self._bucket.put(completion_id, _ASKED, ttl=self._ttl)
                return
            # A client that leaves after somebody asked for the cancel does not unsay that.
            with suppress(AlreadyPublished):
                await self._bucket.create(completion_id, _FORSAKEN, ttl=self._ttl)

    async def look(self, completion_id: CompletionId) -> Mark:
        """How it is marked."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(completion_id)
        if entry is None:
            return Mark.NONE
        return Mark.ASKED if entry.value == _ASKED else Mark.FORSAKEN


class NatsFrameLog:
    """The frames that ``CHAT_CHUNKS`` has captured."""

    def __init__(self, jetstream: JetStream, subject_of: Callable[[CompletionId], str]) -> None:
        self._jetstream = jetstream
        self._subject_of = subject_of

    async def replay(
        self, completion_id: CompletionId, start: int
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """The frames from stream sequence ``start`` on."""
        subject = self._subject_of(completion_id)
        with refusals_mean_unavailable():
            replay = self._jetstream.replay(streams.CHUNKS, subject, start=start)
            async with aclosing(replay) as messages:
                async for message in messages:
                    try:
                        frame = parse_frame(message.data)
                    except MalformedFrame:
                        continue
                    yield message.sequence, frame
