"""What the broker keeps of completions: events, frames, tombstones, dead letters."""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final, TypeVar

import structlog

from shared.contracts import streams, subjects
from shared.contracts.dead_letters import REASON, reason_line
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, MalformedFrame, parse_frame
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, ApiError, JetStream, StoredMessage
from shared.messaging.subscriptions import PROBE

SERVICE: Final = "inference_worker"

_T = TypeVar("_T")

log = structlog.stdlib.get_logger(__name__)


class NatsLedger:
    """``Ledger`` on JetStream."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._cancellations = Bucket(jetstream, streams.CANCELLATIONS)

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """The end of this completion, by Direct Get."""
        stored = await self._stored_end(completion_id)
        return None if stored is None else CompletionCompleted.from_bytes(stored.data)

    async def complete(self, completion_id: CompletionId, payload: bytes) -> bytes:
        """Publish ``completed`` as the first message of its subject, or read who was first."""
        subject = subjects.completed(completion_id)
        try:
            await _available(self._jetstream.publish_once(subject, payload))
        except AlreadyPublished as error:
            stored = await self._stored_end(completion_id)
            if stored is None:
                raise BrokerUnavailable("An event came and went.") from error
            return stored.data
        return payload

    async def cancelled(self, completion_id: CompletionId) -> bool:
        """Whether there is a tombstone."""
        return await _available(self._cancellations.get(completion_id)) is not None

    async def frames(
        self, completion_id: CompletionId, after: int, up_to: int | None = None
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """What ``CHAT_CHUNKS`` holds of it; what is no frame of ours is left out."""
        replay = self._jetstream.replay(
            streams.CHUNKS, subjects.followed(completion_id), start=after + 1
        )
        try:
            async with aclosing(replay) as messages:
                async for message in messages:
                    if up_to is not None and message.sequence > up_to:
                        return
                    frame = _frame(message)
                    if frame is not None:
                        yield message.sequence, frame
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error

    async def take_over(self, subject: str, frame: Frame) -> int:
        """Publish with an acknowledgement, unlike all other frames."""
        return await _available(self._jetstream.publish(subject, frame.to_bytes()))

    async def spent(self, subject: str) -> float:
        """Both times are the broker's, so that no two clocks are compared."""
        last = await _available(self._jetstream.last(streams.CHUNKS, subject))
        try:
            async with aclosing(self._jetstream.replay(streams.CHUNKS, subject, batch=1)) as kept:
                async for first in kept:
                    return (last.time - first.time).total_seconds() if last else 0.0
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error
        return 0.0

    async def bury(self, data: bytes, reason: str) -> None:
        """Keep the original bytes beside the reason."""
        headers = {REASON: reason_line(reason)}
        await _available(
            self._jetstream.publish(subjects.dead_letters(SERVICE), data, headers=headers)
        )

    async def _stored_end(self, completion_id: CompletionId) -> StoredMessage | None:
        return await _available(
            self._jetstream.last(streams.EVENTS, subjects.completed(completion_id))
        )


async def _available(call: Awaitable[_T]) -> _T:
    """A stream that is full or not there is, for a worker, a broker to wait for."""
    try:
        return await call
    except AlreadyPublished:
        raise
    except ApiError as error:
        raise BrokerUnavailable(str(error)) from error


def _frame(message: StoredMessage) -> Frame | None:
    if PROBE in message.headers:
        return None
    try:
        return parse_frame(message.data)
    except MalformedFrame as error:
        log.warning("frame_ignored", sequence=message.sequence, error=str(error))
        return None
