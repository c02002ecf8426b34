"""HTTP/1.1 on the wire: uvicorn's protocol, where that one trusts its clients too much."""

import asyncio
from http import HTTPStatus
from typing import ClassVar, Final, Self

import httptools
import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.completions.failures import error_body
from services.api.heads import Head, HeadLimits, refusal_of, too_large
from services.api.http_settings import HttpSettings
from services.api.security_headers import REFUSAL

log = structlog.stdlib.get_logger(__name__)

_CODES: Final = {HTTPStatus.REQUEST_URI_TOO_LONG: "uri_too_long"}
"""Where the phrase is another one in another Python."""


class GatewayProtocol(HttpToolsProtocol):
    """Bounds a request in bytes and time, and refuses with the one error body.

    httptools keeps headers and trailers of any length, takes trailers for headers, and uvicorn
    waits for the end of a head, or of a body that nobody reads, for ever.
    """

    limits: ClassVar[HeadLimits] = HeadLimits()
    head_timeout: ClassVar[float] = 30.0
    """Seconds from the connection, or a head's first byte, to the head's end."""
    unread_timeout: ClassVar[float] = 30.0
    """Seconds that the rest of a body may take whose request has been answered."""

    _in_head = False
    _message_over = True
    _head_bytes = 0
    _bytes_without_body = 0
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _upgrade_declined = False

    @classmethod
    def configured(cls, settings: HttpSettings, *, body_timeout: float) -> type[Self]:
        """One with the limits of ``settings``: uvicorn makes it without arguments of ours."""
        limits = HeadLimits(settings.max_head_bytes, settings.max_headers, settings.max_url_bytes)
        head_timeout = settings.head_timeout.total_seconds()
        members = {"limits": limits, "head_timeout": head_timeout, "unread_timeout": body_timeout}
        return type(cls.__name__, (cls,), members)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its first head is expected from now on."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._head_is_over()
        self._body_is_over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        was_in_head = self._in_head
        self._bytes_without_body += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("This is not a valid HTTP request.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrade_declined:
                self._go_on_without_upgrade(data[upgrade.args[0] :])
            else:
                self.handle_websocket_upgrade()
            return
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.size:
                self._refuse(*too_large(self.limits))
        self._check_what_is_no_body()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head, self._message_over, self._head_bytes = True, False, 0
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head's; after a body they are trailers, which nobody here asked for.

        uvicorn adds those to the headers of the request that is being answered.
        """
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._bytes_without_body = False, 0
        self._head_is_over()
        upgrades = self.parser.should_upgrade() and self._should_upgrade()
        head = Head(self.url, self.parser.get_http_version(), self.headers, upgrades)
        refusal = refusal_of(head, self.limits)
        if refusal is not None:
            self._refuse(*refusal)
            # The parser stops at an exception, and only there.
            raise ValueError(refusal.message)
        method = self.parser.get_method()
        if self.parser.should_upgrade() and not upgrades and method != b"CONNECT":
            # httptools takes what follows for another protocol, but Java's client wishes for h2c
            # with its first request, and sends a body: ``HttpParserUpgrade`` comes next.
            self._upgrade_declined = True
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._bytes_without_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._body_is_over()
        if not self._upgrade_declined:
            self._message_over = True
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out; the rest of a body that nobody wanted is not waited for for ever."""
        super().on_response_complete()
        if self.cycle.response_complete and not self._message_over and not self._in_head:
            self._body_is_over()
            self._unread_timer = self.loop.call_later(self.unread_timeout, self.transport.close)

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

    def _check_what_is_no_body(self) -> None:
        if self.transport.is_closing() or self._in_head:
            return
        if self._message_over:
            # An empty line between two requests ends uvicorn's patience with an idle connection.
            # As long as an answer goes on there is nothing to expect, however long it takes.
            if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
                self._expect_head()
        elif self._bytes_without_body > self.limits.size:
            # Trailers and chunk extensions: httptools would keep the first of any length.
            self._refuse(*too_large(self.limits))

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def _head_is_over(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _body_is_over(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

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
            code = _CODES.get(status, status.phrase.lower().replace(" ", "_"))
            body = orjson.dumps(error_body(message, "invalid_request_error", None, code))
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n"
            ).encode()
            head += b"".join(b"%s: %s\r\n" % header for header in REFUSAL)
            self.transport.write(head + b"\r\n" + body)
        self.transport.close()
