"""A stream that was begun elsewhere or earlier."""

from collections.abc import Callable

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from services.api.completions.attaching import Reading
from services.api.completions.following import Following
from services.api.completions.orders import Timing
from services.api.ports.broker import Clock
from services.api.routes.client_watch import ClientWatch
from services.api.routes.sse_writer import SseWriter
from services.api.streams.cursor import Cursor
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import FROM_THE_START, Numbering
from services.api.streams.sse import ChunkEncoder
from shared.contracts.events import CompletionAccepted

log = structlog.stdlib.get_logger(__name__)


class ResumedAnswer(Response):
    """Follows a completion inside the response, so that it can watch the connection itself."""

    def __init__(
        self,
        accepted: CompletionAccepted,
        after: int | None,
        *,
        following: Following,
        attend: Callable[[Reading], Reading],
        clock: Clock,
        timing: Timing,
    ) -> None:
        super().__init__()
        self._accepted = accepted
        self._after = FROM_THE_START if after is None else after
        self._following = following
        self._attend = attend
        self._clock = clock
        self._timing = timing

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises a ``ChatError`` as long as nothing has been sent."""
        accepted = self._accepted
        encoder = ChunkEncoder(
            accepted.completion_id,
            accepted.model,
            accepted.accepted_at,
            include_usage=bool(accepted.include_usage),
        )
        numbering = Numbering(accepted.completion_id, self._after)
        writer = SseWriter(
            accepted.completion_id,
            encoder,
            usage_of=lambda end: end.usage,
            numbering=numbering,
            clock=self._clock,
            timing=self._timing,
        )
        cursor = Cursor(accepted.completion_id, self._after)
        delivery = Delivery(encoder.missing, numbering.dress, cursor)
        async with ClientWatch(receive) as client:
            followed = await self._following.follow(accepted, delivery, self._after)
            if followed is None:
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            reading = self._attend(followed)
            client.call_when_gone(reading.wake)
            try:
                await writer.write(reading, client, send)
            finally:
                reading.abandon()
