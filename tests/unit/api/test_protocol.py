"""The wire below ASGI: what is no request, one that never ends, and one that wishes for more."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from services.api.protocol import GatewayProtocol
from tests.support.waiting import eventually

BODY = b'{"hello":1}'
CLOSE = b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


SHORT = 0.05


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the body."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = scope["path"].encode() + b" " + body + b"\n"
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    if scope["path"] == "/slow":
        await scope["state"]["may_end"].wait()
    await send({"type": "http.response.body", "body": answer})


class Connection:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.may_end = asyncio.Event()
        """Until then ``/slow`` is not answered."""

    async def say(self, *parts: bytes) -> None:
        """Send each part as a packet of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def hear(self) -> bytes:
        """Everything until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 5)


@asynccontextmanager
async def connected(
    protocol: type[GatewayProtocol] = GatewayProtocol,
) -> AsyncGenerator[Connection]:
    config = uvicorn.Config(echo, log_config=None, access_log=False, ws="none")
    state = ServerState()
    loop = asyncio.get_running_loop()
    shared: dict[str, object] = {}
    server = await loop.create_server(lambda: protocol(config, state, shared), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        connection = Connection(reader, writer)
        shared["may_end"] = connection.may_end
        try:
            yield connection
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            await eventually(lambda: not state.connections)


def refusal_in(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_http_has_the_one_error_body(data: bytes) -> None:
    async with connected() as client:
        await client.say(data)
        assert refusal_in(await client.hear()) == (400, "bad_request")


@pytest.mark.parametrize("one_header", [True, False])
async def test_headers_without_end_are_refused_before_they_fill_the_memory(
    one_header: bool,
) -> None:
    seen = 0

    class Counting(GatewayProtocol):
        def data_received(self, data: bytes) -> None:
            nonlocal seen
            super().data_received(data)
            seen += len(data)

    part = b"a" * 60_000 if one_header else b"a" * 60_000 + b"\r\nX-More: "
    sent = 0
    async with connected(Counting) as client:
        for data in (b"GET / HTTP/1.1\r\nX-Long: ", part, part):
            await client.say(data)
            sent += len(data)
            await eventually(lambda: seen == sent)  # noqa: B023 - it is waited for here
        assert refusal_in(await client.hear()) == (431, "request_header_fields_too_large")


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\n", CLOSE.replace(b"close", b"a") + b"G"]
)
async def test_headers_that_do_not_come_are_not_waited_for(begun: bytes) -> None:
    class Hasty(GatewayProtocol):
        head_timeout = SHORT

    async with connected(Hasty) as client:
        await client.say(begun)
        answer = await client.hear()
    assert refusal_in(answer[answer.rindex(b"HTTP/1.1") :]) == (408, "request_timeout")


@pytest.mark.parametrize("packets", [1, 2])
@pytest.mark.parametrize("after", [b"", b"\r\n"])
async def test_an_answer_may_take_longer_than_a_head(packets: int, after: bytes) -> None:
    seen = 0

    class Hasty(GatewayProtocol):
        head_timeout = SHORT

        def data_received(self, data: bytes) -> None:
            nonlocal seen
            super().data_received(data)
            seen += len(data)

    head = b"POST /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 11\r\n\r\n"
    async with connected(Hasty) as client:
        await client.say(*([head + BODY + after] if packets == 1 else [head, BODY, after]))
        await eventually(lambda: seen == len(head + BODY + after))
        # One that comes now and says nothing is given up: so is every head that was expected.
        reader, writer = await asyncio.open_connection(*client.writer.get_extra_info("peername"))
        late = await Connection(reader, writer).hear()
        writer.close()
        assert refusal_in(late) == (408, "request_timeout")
        client.may_end.set()
        answer = await client.hear()
    assert answer.endswith(b"/slow " + BODY + b"\n")


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_wish_for_http2_costs_no_request_its_body(parts: int, chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 11"
    head = (
        b"POST /asked?a=b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + length + b"\r\n\r\n"
    )
    data = head + (b"b\r\n" + BODY + b"\r\n0\r\n\r\n" if chunked else BODY) + CLOSE
    cuts = {1: [len(data)], 2: [len(head), len(data)], 3: [60, len(head) + 4, len(data)]}[parts]
    async with connected() as client:
        await client.say(*[data[a:b] for a, b in zip([0, *cuts], cuts, strict=False)])
        answer = await client.hear()
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"/asked " + BODY in answer
    assert answer.endswith(b"/end \n")
