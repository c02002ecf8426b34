"""Frames on the raw client: no FastStream, no acknowledgement, no object per token."""

from typing import Final

import structlog
from nats.aio.client import Client

from shared.contracts.frames import HEAD_SIZE, Frame
from shared.messaging.lost import LOST

# A quarter of what the connection holds back at most (``shared.messaging.connection``).
_SLOW: Final = 4 * 2**20
_FLUSH_TIMEOUT: Final = 2
_SUBJECT_ROOM: Final = 1024

log = structlog.stdlib.get_logger(__name__)


class NatsFrames:
    """``Frames`` by core publish; ``CHAT_CHUNKS`` captures them on their way."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._losing = False

    @property
    def room(self) -> int:
        """What the server takes in one message, less the head."""
        return self._client.max_payload - HEAD_SIZE - _SUBJECT_ROOM

    async def send(self, subject: str, frame: Frame) -> None:
        """Publish; nothing is awaited before the frame stands in the client's queue."""
        try:
            await self._client.publish(subject, frame.to_bytes())
            if self._client.pending_data_size > _SLOW and self._client.is_connected:
                await self._client.flush(_FLUSH_TIMEOUT)
        except LOST as error:
            # Readers repair a gap from ``completed``; said once, not per token.
            if not self._losing:
                log.warning("frames_lost", error=str(error) or type(error).__name__)
            self._losing = True
        else:
            self._losing = False
