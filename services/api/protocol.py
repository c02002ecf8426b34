"""HTTP/1.1 on the wire: uvicorn's protocol, where that one trusts its clients too much."""

import asyncio
from http import HTTPStatus
from typing import ClassVar, Final

import httptools
import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.completions.failures import error_body
from services.api.security_headers import REFUSAL

log = structlog.stdlib.get_logger(__name__)

_HEAD_BYTES: Final = 64 * 1024


class GatewayProtocol(HttpToolsProtocol):
    """Bounds the head of a request in bytes and time, and refuses with the one error body.

    httptools keeps headers of any length, and uvicorn waits for their end for ever.
    """

    head_timeout: ClassVar[float] = 30.0
    """Seconds from the connection, or a head's first byte, to the head's end."""

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _upgrade_declined = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its first head is expected from now on."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._head_is_over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests."""
        self._unset_keepalive_if_required()
        was_in_head = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("This is not a valid HTTP request.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrade_declined:
                self._go_on_without_upgrade(data[upgrade.args[0] :])
            else:
                self.handle_websocket_upgrade()
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                message = f"The headers take more than {_HEAD_BYTES} bytes."
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._head_is_over()
        method = self.parser.get_method()
        if self.parser.should_upgrade() and not self._should_upgrade() and method != b"CONNECT":
            # httptools takes what follows for another protocol, but Java's client wishes for h2c
            # with its first request, and sends a body: ``HttpParserUpgrade`` comes next.
            self._upgrade_declined = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        if not self._upgrade_declined:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        self._upgrade_declined = False
        lines = [
            b"%s %s HTTP/%s"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def _head_is_over(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The headers did not come in time.")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.transport.is_closing():
            return
        log.info("http_refused", status=status.value)
        # Inside another request's answer it would be taken for a part of that.
        # (uvicorn's annotation forgets that there is no cycle before the first request.)
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
            code = status.phrase.lower().replace(" ", "_")
            body = orjson.dumps(error_body(message, "invalid_request_error", None, code))
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n"
            ).encode()
            head += b"".join(b"%s: %s\r\n" % header for header in REFUSAL)
            self.transport.write(head + b"\r\n" + body)
        self.transport.close()
