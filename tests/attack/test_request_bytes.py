"""Any bytes that come for requests: what is answered, another reader would have read the same.

The other reader is h11, which shares no line with the parser of the gateway. Where both are asked
the same, a proxy in front and the gateway behind it agree; all else must be refused.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import h11
import uvicorn
from hypothesis import assume, example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from services.api.heads import Head, HeadLimits, refusal_of
from services.api.protocol import GatewayProtocol
from tests.support.fuzzing import fuzz

FUZZ: Final = fuzz(600)
ANSWERS: Final = re.compile(
    rb"(?:HTTP/1\.1 100 Continue\r\n\r\n|HTTP/1\.1 200 OK\r\n(?:[a-z-]+: [^\r\n]*\r\n)*\r\n)*"
    rb"(?P<refusal>HTTP/1\.1 (?:400|408|414|431|505) [^\r\n]*\r\n.*)?",
    re.DOTALL,
)


class Asked(NamedTuple):
    method: bytes
    target: bytes
    body: bytes


class Gateway:
    """The protocol with a transport in memory and an application that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.headers: list[tuple[bytes, bytes]] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self.asked.append(Asked(scope["method"].encode(), scope["raw_path"] + query, body))
        self.headers += scope["headers"]
        length = (b"content-length", b"0")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b""})

    async def read(self, packets: Sequence[bytes]) -> bytes:
        """What it answers to these."""
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            ws="none",
            interface="asgi3",
            proxy_headers=False,
        )
        config.load()
        protocol = GatewayProtocol(config, ServerState(), {})
        transport = _Transport(protocol.connection_lost)
        protocol.connection_made(transport)
        for packet in packets:
            if not transport.is_closing():
                protocol.data_received(packet)
            await _all_done(protocol)
        transport.close()
        await _all_done(protocol)
        return transport.said


class _Transport(asyncio.Transport):
    def __init__(self, lost: Callable[[None], None]) -> None:
        super().__init__()
        self._lost = lost
        self._closing = False
        self.said = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.said += bytes(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lost, None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


async def _all_done(protocol: GatewayProtocol) -> None:
    # All of it is ready at once: whoever waits after these turns waits for more bytes.
    for _ in range(30):
        await asyncio.sleep(0)


def read_by_h11(data: bytes) -> list[Asked]:
    """The requests as another server reads them, up to the first that it cannot read."""
    asked: list[Asked] = []
    while True:
        # Empty lines before a request are nobody's (RFC 9112, 2.2), for llhttp bare CRs too.
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        connection.receive_data(data.lstrip(b"\r\n"))
        request = _next_request(connection)
        if request is None:
            return asked
        asked.append(request)
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE:
            return asked
        data = connection.trailing_data[0]


def _next_request(connection: h11.Connection) -> Asked | None:
    head: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return Asked(head.method, head.target, body)
        else:
            return None


METHODS: Final = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"get", b"G T", b""]
)
TARGETS: Final = st.sampled_from(
    [
        b"/",
        b"/a",
        b"/a?b=c",
        b"/%2f",
        b"//a",
        b"/a b",
        b"/\x7f",
        b"/\xff",
        b"http://x/",
        b"*",
        b"/#",
    ]
)
VERSIONS: Final = st.sampled_from(
    [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"HTTP/1.1 ", b""]
)
TEXT: Final = st.text(st.characters(max_codepoint=255), max_size=6).map(
    lambda text: text.encode("latin-1")
)
# Two of ``Host`` are refused one floor up, by the guard (test_smuggling.py).
NAMES: Final = st.sampled_from(
    [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"X"]
)
VALUES: Final = st.sampled_from(
    [
        *(b"0", b"2", b"5", b"05", b"+2", b"2, 2", b"2,", b"0x2", b"-0", b"2 ", b"9" * 25),
        *(b"chunked", b"Chunked", b"chunked,", b"identity", b"gzip, chunked", b"xchunked"),
        *(b"close", b"keep-alive", b"Upgrade", b"upgrade, close", b"h2c", b"websocket"),
        *(b"100-continue", b"a", b""),
    ]
)
SEPARATORS: Final = st.sampled_from([b": "] * 9 + [b":", b" : ", b":\t", b"", b"\r\n : ", b":\x0b"])
ENDS: Final = st.sampled_from([b"\r\n"] * 15 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
BODIES: Final = st.sampled_from(
    [
        *(b"", b"", b"{}", b"12345"),
        *(b"2\r\n{}\r\n0\r\n\r\n", b"0\r\n\r\n", b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"),
        *(b"02\r\n{}\r\n0\r\n\r\n", b"2 \r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}0\r\n\r\n"),
        *(b"0x2\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"),
        *(b"2;\n\r\n{}\r\n0\r\n\r\n", b"F" * 17 + b"\r\n", b"2\r\n{}\r\n00\r\n\r\n"),
    ]
)
HEADER_LINES: Final = st.sampled_from(
    [
        b"Content-Length: 2\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST"]) | METHODS)
    target = draw(st.sampled_from([b"/a", b"/b"]) | TARGETS)
    head = method + b" " + target + b" " + draw(VERSIONS) + draw(ENDS) + b"Host: x\r\n"
    head += b"".join(draw(st.lists(HEADER_LINES, max_size=2)))
    for _ in range(draw(st.integers(0, 1))):
        head += draw(NAMES | TEXT) + draw(SEPARATORS) + draw(VALUES | TEXT) + draw(ENDS)
    return head + draw(ENDS) + draw(BODIES)


@st.composite
def packets(draw: st.DrawFn) -> list[bytes]:
    several = draw(st.lists(requests(), min_size=1, max_size=3))
    data = b"".join(several)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    # None at all is refused by the guard, too.
    assume(len(re.findall(rb"[\r\n]Host: x\r\n", data)) == len(several))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


BODY: Final = b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
H2C: Final = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


def test_what_is_answered_any_other_reader_would_have_read_the_same() -> None:
    complaints: list[str] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, said: complaints.append(repr(said)))

        @FUZZ
        @given(packets=packets())
        @example(packets=[b"POST / HTTP/1.1\r\nHost: x\r\n" + H2C + b"Content-Length: 2\r\n\r\n{}"])
        @example(packets=[b"POST /a HTTP/1.1\r\nHost: x\r\n" + BODY])
        def any_packets(packets: list[bytes]) -> None:
            gateway = Gateway()
            said = runner.run(gateway.read(packets))
            found = ANSWERS.fullmatch(said)
            assert found, said
            # Rubbish behind a request that is being answered closes the connection under it.
            answered = said.count(b"HTTP/1.1 200 OK")
            assert answered <= len(gateway.asked) <= answered + 1
            assert gateway.asked == read_by_h11(b"".join(packets))[: len(gateway.asked)]
            for name, value in gateway.headers:
                assert not re.search(rb"[\r\n\0]", name + value)
                assert name == name.lower()

        any_packets()
    assert complaints == []


HEADERS: Final = st.lists(
    st.tuples((NAMES | TEXT).map(bytes.lower), VALUES | TEXT | st.just(b"a" * 700)), max_size=110
)


@FUZZ
@given(
    url=TARGETS | TEXT | st.just(b"/" + b"a" * 9000),
    version=st.sampled_from(["1.1", "1.0", "2.0", "0.9", "3.0", ""]),
    headers=HEADERS,
    upgrades=st.booleans(),
)
def test_a_head_that_passes_is_within_its_limits_and_says_one_thing(
    url: bytes, version: str, headers: list[tuple[bytes, bytes]], upgrades: bool
) -> None:
    limits = HeadLimits(size=4096, headers=20, url=1024)
    refusal = refusal_of(Head(url, version, headers, upgrades), limits)
    if refusal is not None:
        assert 400 <= refusal.status < 600
        assert re.fullmatch(r"[A-Z][ -~]+\.", refusal.message)
        return
    encodings = [value for name, value in headers if name == b"transfer-encoding"]
    assert len(url) <= 1024
    assert len(headers) <= 20
    assert sum(len(name) + len(value) for name, value in headers) <= 4096
    assert version in {"1.0", "1.1"}
    assert url[:1] == b"/"
    assert b"#" not in url
    assert [value.strip().lower() for value in encodings] in ([], [b"chunked"])
    assert not encodings or (version == "1.1" and not upgrades)
