"""Frames that are no messages, on a real connection: their socket is closed, the others live."""

import os
from typing import Final

import pytest
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.whole_world import WholeWorld
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
    settings = quick_settings(socket_message_bytes=LIMIT)
    codes = {}
    with structlog.testing.capture_logs() as logs:
        async with (
            RunningGateway(settings, open_world=WholeWorld().open) as gateway,
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
    settings = quick_settings(socket_message_bytes=LIMIT)
    async with RunningGateway(settings, open_world=WholeWorld().open) as gateway:
        url = gateway.url.replace("http", "ws") + PATH
        async with connect(url, compression="deflate", proxy=None) as socket:
            await socket.recv()
            await socket.send(" " * 2**24)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        assert socket.close_code == 1009
