"""Frames that are no messages, on a real connection: their socket is closed, the others live."""

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from services.api.schemas.sockets import LIST_FROM_SERVER
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.whole_world import WholeWorld
from tests.support.fuzzing import fuzz
from tests.support.socket_client import SocketClient
from tests.support.wire import wire_to

PATH: Final = "/ws/ai-chat/sessions/"
HANDSHAKE: Final = (
    b"GET /ws/ai-chat/sessions/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
LIMIT: Final = 4096


def frame(first: int, data: bytes, *, masked: bool = True) -> bytes:
    """One frame: ``first`` is FIN, reserved bits and opcode."""
    assert len(data) < 65536
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2)
    if not masked:
        return bytes([first]) + size + data
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    return bytes([first, size[0] | 0x80]) + size[1:] + mask + hidden


FRAMES: Final = {
    "no UTF-8": (frame(0x81, b"\xff\xfe"), 1007),
    "half a character": (frame(0x81, b"\xed\xa0\x80"), 1007),
    "unmasked": (frame(0x81, b"{}", masked=False), 1002),
    "reserved bits": (frame(0xF1, b"{}"), 1002),
    "an unknown kind": (frame(0x83, b"{}"), 1002),
    "a continuation of nothing": (frame(0x80, b"{}"), 1002),
    "two beginnings": (frame(0x01, b"{") + frame(0x81, b"}"), 1002),
    "a ping in parts": (frame(0x09, b"a"), 1002),
    "a long ping": (frame(0x89, b"a" * 126), 1002),
    "a close without a reason": (frame(0x88, b"\x03"), 1002),
    "a close with a code of nobody's": (frame(0x88, b"\x00\x00"), 1002),
    "too large": (frame(0x81, b" " * (LIMIT + 1)), 1009),
    "too large in parts": (frame(0x01, b" ") + frame(0x00, b" " * 1000) * 5, 1009),
}


async def test_a_frame_that_is_none_closes_its_socket_alone() -> None:
    gateway_settings = quick_settings(socket_message_bytes=LIMIT)
    codes = {}
    with structlog.testing.capture_logs() as logs:
        async with (
            RunningGateway(gateway_settings, open_world=WholeWorld().open) as gateway,
            SocketClient(gateway.url, PATH) as other,
        ):
            for name, (data, _code) in FRAMES.items():
                async with wire_to(gateway.url) as wire:
                    await wire.say(HANDSHAKE)
                    assert b" 101 " in await wire.answer()
                    await wire.say(data)
                    heard = await wire.hear()
                # The last frame is the close: its kind, its length, its code.
                at = heard.data.rindex(b"\x88")
                codes[name] = int.from_bytes(heard.data[at + 2 : at + 4])
            await other.say({"type": "ping"})
            await other.next("pong")
    assert codes == {name: code for name, (_data, code) in FRAMES.items()}
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []


async def test_what_is_small_until_it_is_unpacked_is_too_large() -> None:
    gateway_settings = quick_settings(socket_message_bytes=LIMIT)
    async with RunningGateway(gateway_settings, open_world=WholeWorld().open) as gateway:
        url = gateway.url.replace("http", "ws") + PATH
        async with connect(url, compression="deflate", proxy=None) as socket:
            await socket.recv()
            await socket.send(" " * 2**24)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        assert socket.close_code == 1009


CODES: Final = {1000, 1001, 1002, 1003, 1005, 1007, 1009, 4408, 4429}
SIZES: Final = st.sampled_from(
    [0, 1, 125, 126, 127, 65535, 65536, 2**31, 2**63 - 1, 2**63, 2**64 - 1]
)


class Sent(NamedTuple):
    """A frame of the server's, as RFC 6455 reads it."""

    opcode: int
    data: bytes


def sent_by_the_server(data: bytes) -> Iterator[Sent]:
    """Its frames: none masked, in parts or compressed; the last may be cut off."""
    while len(data) >= 2:
        first, size, at = data[0], data[1], 2
        assert first & 0x80, "in parts, which this server never does"
        assert not first & 0x70
        assert size < 0x80, "masked"
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at])
        if len(data) < at + size:
            return
        yield Sent(first & 0x0F, data[at : at + size])
        data = data[at + size :]


def _header(first: int, size: int, *, long: bool, masked: bool) -> bytes:
    """The head of a frame that may say anything of what follows."""
    bit = 0x80 if masked else 0
    if size < 126 and not long:
        return bytes([first, bit | size])
    if size < 65536:
        return bytes([first, bit | 126]) + size.to_bytes(2)
    return bytes([first, bit | 127]) + size.to_bytes(8)


TEXTS: Final = st.sampled_from(
    [b'{"type":"ping"}', b"{}", b"[", b"\xff", b'{"type":"typing"}', b" " * (LIMIT + 1), b""]
) | st.binary(max_size=20)
FRAME: Final = st.builds(
    lambda first, data, masked: frame(first, data, masked=masked),
    st.sampled_from([0x81] * 6 + [0x01, 0x00, 0x80, 0x82, 0x89, 0x8A, 0x88]) | st.integers(0, 255),
    TEXTS,
    st.sampled_from([True] * 9 + [False]),
)
BROKEN: Final = st.builds(
    lambda first, size, long, masked, rest: _header(first, size, long=long, masked=masked) + rest,
    st.integers(0, 255),
    SIZES,
    st.booleans(),
    st.booleans(),
    st.binary(max_size=20),
)
SAID: Final = st.lists(FRAME | FRAME | BROKEN | st.binary(max_size=12), min_size=1, max_size=5)
FUZZ: Final = fuzz(80)


async def _answers(url: str, said: list[bytes]) -> list[Sent]:
    async with wire_to(url) as wire:
        await wire.say(HANDSHAKE)
        assert b" 101 " in await wire.answer()
        await wire.say(b"".join(said))
        # Whatever it still waits for does not come.
        wire.no_more()
        return list(sent_by_the_server((await wire.hear()).data))


def test_any_frames_are_answered_with_whole_ones_and_end_their_socket_alone() -> None:
    known = {
        name
        for model in LIST_FROM_SERVER
        for name in [model.model_json_schema()["properties"]["type"]]
        for name in name.get("enum") or [name["const"]]
    }
    gateway_settings = quick_settings(socket_message_bytes=LIMIT)
    complaints: list[str] = []
    with asyncio.Runner() as runner, structlog.testing.capture_logs() as logs:
        runner.get_loop().set_exception_handler(lambda _loop, said: complaints.append(repr(said)))
        gateway = RunningGateway(gateway_settings, open_world=WholeWorld().open)
        runner.run(gateway.__aenter__())
        other = SocketClient(gateway.url, PATH)
        runner.run(other.__aenter__())

        @FUZZ
        @given(said=SAID)
        def any_frames(said: list[bytes]) -> None:
            frames = runner.run(_answers(gateway.url, said))
            for place, (opcode, data) in enumerate(frames):
                assert opcode in {1, 8, 9, 10}
                if opcode == 1:
                    assert json.loads(data)["type"] in known
                if opcode == 8:
                    assert place == len(frames) - 1
                    assert not data or int.from_bytes(data[:2]) in CODES, data

        try:
            any_frames()
            runner.run(other.say({"type": "ping"}))
            runner.run(other.next("pong"))
        finally:
            runner.run(other.__aexit__(None, None, None))
            runner.run(gateway.__aexit__(None, None, None))
    assert complaints == []
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []
