"""A small HTTP/1.1 server that lets its handlers misbehave.

A framework finishes what an application left unfinished and hides the connection; a demo engine
must cut a reply in the middle of a line, and must know at once that its client went away, also
while it has nothing to write. So: one task per connection, cancelled when the connection is lost.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

import httptools
import orjson

log = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """One request, read to its end; ``received_at`` is seconds of the Unix clock."""

    method: str
    path: str
    body: bytes
    keep_alive: bool
    received_at: float


class Exchange:
    """One request and the reply to it."""

    def __init__(self, request: Request, connection: "Connection") -> None:
        self.request = request
        self.begun = False
        self.finished = False
        self._connection = connection

    @property
    def closed_at(self) -> float | None:
        """When the client's closing was noticed, in seconds of the Unix clock."""
        return self._connection.closed_at

    def reply(self, status: int, body: bytes, content_type: str) -> None:
        """Send a whole reply."""
        self._head(status, content_type, f"content-length: {len(body)}")
        if self.request.method != "HEAD":
            self._connection.write(body)
        self._end()

    def reply_json(self, value: object, status: int = 200) -> None:
        """Send ``value`` as a whole reply."""
        self.reply(status, orjson.dumps(value), JSON)

    def begin(self, content_type: str) -> None:
        """Send the head of a reply with status 200 that is sent piece by piece."""
        self._head(200, content_type, "transfer-encoding: chunked")

    async def send(self, data: bytes) -> None:
        """Send one piece, after those before it have left for a client that reads slowly."""
        await self._connection.writable.wait()
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """End a reply that was sent piece by piece."""
        self._connection.write(b"0\r\n\r\n")
        self._end()

    def cut(self) -> None:
        """Close the connection after what was sent so far, finished or not."""
        self.finished = True
        self._connection.close()

    def _head(self, status: int, content_type: str, length: str) -> None:
        self.begun = True
        keep = "" if self.request.keep_alive else "connection: close\r\n"
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: {content_type}\r\n"
            f"date: {formatdate(usegmt=True)}\r\n{keep}{length}\r\n\r\n"
        )
        self._connection.write(head.encode())

    def _end(self) -> None:
        self.finished = True
        if not self.request.keep_alive:
            self._connection.close()


Handler = Callable[[Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._body = bytearray()
        self.writable = asyncio.Event()
        self.writable.set()
        self.closed_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)
        self._task = asyncio.create_task(self._serve())
        self._task.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            self.close()

    def eof_received(self) -> bool:
        """The client wants nothing more: as Ollama, take that for a cancellation."""
        self._lost()
        return False

    def connection_lost(self, _: Exception | None) -> None:
        """Stop what is being done for the client."""
        self._lost()
        self._connections.discard(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.writable.set()

    def on_message_begin(self) -> None:
        """Parser: a request begins."""
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        """Parser: a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser: a header; curl waits for leave to send a large body."""
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Parser: a piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Parser: the request is whole."""
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=httptools.parse_url(self._url).path.decode("ascii", "replace"),
            body=bytes(self._body),
            keep_alive=self._parser.should_keep_alive(),
            received_at=time.time(),
        )
        self._requests.put_nowait(request)

    def write(self, data: bytes) -> None:
        """Write, unless the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection when everything written has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    async def _serve(self) -> None:
        while True:
            exchange = Exchange(await self._requests.get(), self)
            await self._handler(exchange)
            if not exchange.finished:
                exchange.cut()

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handler_failed", exc_info=error)
            self.abort()

    def _lost(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.time()
        if self._task is not None:
            self._task.cancel()


class HttpServer:
    """Listens, and stops without waiting for anybody."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Begin to listen.

        Returns:
            The port, which the system chose if ``port`` was 0.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._handler, self._connections), host, port
        )
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Close the port and every connection at once."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
