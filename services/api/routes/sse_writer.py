"""Write an answer as server-sent events: bytes of the worker's making, as they come."""

from collections.abc import Callable
from typing import Final, Protocol

import structlog
from starlette.types import Send

from services.api.completions.failures import body_of, internal_error_body
from services.api.completions.orders import Timing
from services.api.completions.translation import failure_of, finish_reason_of
from services.api.ports.broker import Clock
from services.api.ports.queue_news import QueueNews
from services.api.routes.client_watch import ClientWatch
from services.api.routes.slow_client import ClientTooSlow, patient
from services.api.spelling import AS_IT_IS, Naming
from services.api.streams.numbering import Numbering
from services.api.streams.sse import (
    PING,
    PING_BESIDE_IDS,
    RETRY,
    ChunkEncoder,
    error_event,
    queued_comment,
    run_body,
)
from services.api.streams.steps import Step
from shared.contracts.chat import Usage
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import ChatError, ServerShutdown

log = structlog.stdlib.get_logger(__name__)

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # To caches both say no; what is on the way looks for ``no-cache`` to know a stream by.
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
)


class Source(Protocol):
    """A running answer: ``Running`` or ``Followed``."""

    @property
    def queue_news(self) -> QueueNews | None:
        """How it stands in the queue, as long as it waits there and that is known."""
        ...

    async def next(self, until: float) -> Step:
        """The next bytes, the end, or nothing."""
        ...


class SseWriter:
    """One stream.

    Headers of a plain one wait for its first content: until then a failure is an HTTP status. A
    numbered one begins at once: its client wants to know where to come back.
    """

    def __init__(
        self,
        completion_id: CompletionId,
        encoder: ChunkEncoder,
        *,
        usage_of: Callable[[CompletionCompleted], Usage | None],
        numbering: Numbering | None,
        clock: Clock,
        timing: Timing,
        naming: Naming = AS_IT_IS,
    ) -> None:
        self._id = completion_id
        self._naming = naming
        self._encoder = encoder
        self._usage_of = usage_of
        self._numbering = numbering
        self._clock = clock
        self._timing = timing
        self._ping = PING if numbering is None else PING_BESIDE_IDS
        self._started = False
        self._told: QueueNews | None = None

    async def write(self, source: Source, client: ClientWatch, send: Send) -> None:
        """Relay until the end, the client's leaving, or a failure."""
        try:
            async with patient(send, self._timing.send_timeout) as patient_send:
                await self._write(source, client, patient_send)
        except ClientTooSlow:
            log.info("client_too_slow", completion_id=self._id)

    async def _write(self, source: Source, client: ClientWatch, send: Send) -> None:
        try:
            if self._numbering is not None:
                await self._start(send)
            await self._relay(source, client, send)
        except ChatError as error:
            if not self._started:
                raise
            # Its client comes back for the rest, so the last event that it knows must stay so.
            again = self._numbering is not None and isinstance(error, ServerShutdown)
            last = error_event(body_of(error, self._naming))
            await self._send(send, RETRY + last if again else last, more=False)
        except Exception:
            if not self._started:
                raise
            # A cut would look like success to both OpenAI SDKs.
            log.exception("stream_failed", completion_id=self._id)
            await self._send(send, error_event(internal_error_body()), more=False)

    async def _relay(self, source: Source, client: ClientWatch, send: Send) -> None:
        now = self._clock.monotonic
        quiet_until = now() + self._timing.header_hold
        if self._started:
            quiet_until = now() + self._timing.ping_interval
        while True:
            data, end = await source.next(quiet_until)
            if end is not None:
                await self._finish(send, data, end)
                return
            if client.gone:
                log.info("client_gone", completion_id=self._id, during="stream")
                return
            late = now() >= quiet_until
            if not data and (self._started or late):
                data = self._queue_news(source.queue_news)
            if not data and late:
                data = self._ping
            if data:
                await self._send(send, data, more=True)
                quiet_until = now() + self._timing.ping_interval

    def _queue_news(self, news: QueueNews | None) -> bytes:
        if news is None or news == self._told:
            return b""
        self._told = news
        return queued_comment(news, beside_ids=self._numbering is not None)

    async def _finish(self, send: Send, data: bytes, end: CompletionCompleted) -> None:
        failure = failure_of(end)
        if failure is None:
            last = self._encoder.end(
                finish_reason_of(end),
                self._usage_of(end),
                run_body(end.attempts, end.continued_at, end.context_omitted),
            )
        elif self._started or data:
            last = error_event(body_of(failure, self._naming))
        else:
            raise failure
        if self._numbering is not None:
            last = self._numbering.end(end.events) + last
        await self._send(send, data + last, more=False)

    async def _start(self, send: Send) -> None:
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})

    async def _send(self, send: Send, body: bytes, *, more: bool) -> None:
        if not self._started:
            await self._start(send)
        await send({"type": "http.response.body", "body": body, "more_body": more})
