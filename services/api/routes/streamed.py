"""A streamed answer: bytes of the worker's making, as they come."""

from typing import Final

import structlog
from starlette.types import Send

from services.api.background import Background
from services.api.completions import Completions
from services.api.failures import body_of, internal_error_body
from services.api.orders import Order, Timing
from services.api.ports import Clock
from services.api.routes.answering import Answer
from services.api.routes.client_watch import ClientWatch
from services.api.routes.slow_client import ClientTooSlow, patient
from services.api.running import Running
from services.api.sse import PING, ChunkEncoder, error_event
from services.api.translation import failure_of, finish_reason_of, usage_of
from shared.contracts.events import CompletionCompleted
from shared.errors import ChatError

log = structlog.stdlib.get_logger(__name__)

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class StreamedAnswer(Answer):
    """Headers wait for the first content; until then a failure is an HTTP status."""

    def __init__(
        self,
        order: Order,
        *,
        completions: Completions,
        background: Background,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._encoder = ChunkEncoder(
            order.completion_id, order.model, order.created_at, include_usage=order.include_usage
        )
        super().__init__(
            order,
            completions=completions,
            background=background,
            encode=self._encoder.missing,
        )
        self._clock = clock
        self._timing = timing
        self._started = False

    async def answer(self, running: Running, client: ClientWatch, send: Send) -> None:
        """Relay until the end, the client's leaving, or a failure."""
        try:
            async with patient(send, self._timing.send_timeout) as patient_send:
                await self._answer(running, client, patient_send)
        except ClientTooSlow:
            log.info("client_too_slow", completion_id=self._order.completion_id)

    async def _answer(self, running: Running, client: ClientWatch, send: Send) -> None:
        try:
            await self._relay(running, client, send)
        except ChatError as error:
            if not self._started:
                raise
            await self._send(send, error_event(body_of(error)), more=False)
        except Exception:
            if not self._started:
                raise
            # A cut would look like success to both OpenAI SDKs.
            log.exception("stream_failed", completion_id=self._order.completion_id)
            await self._send(send, error_event(internal_error_body()), more=False)

    async def _relay(self, running: Running, client: ClientWatch, send: Send) -> None:
        now = self._clock.monotonic
        quiet_until = now() + self._timing.header_hold
        while True:
            data, end = await running.next(quiet_until)
            if end is not None:
                await self._finish(send, data, end)
                return
            if client.gone:
                log.info("client_gone", completion_id=self._order.completion_id, during="stream")
                return
            if not data and now() >= quiet_until:
                data = PING
            if data:
                await self._send(send, data, more=True)
                quiet_until = now() + self._timing.ping_interval

    async def _finish(self, send: Send, data: bytes, end: CompletionCompleted) -> None:
        failure = failure_of(end)
        if failure is None:
            last = self._encoder.end(finish_reason_of(end), usage_of(end, self._order))
        elif self._started or data:
            last = error_event(body_of(failure))
        else:
            raise failure
        await self._send(send, data + last, more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        if not self._started:
            self._started = True
            headers = list(_HEADERS)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": more})
