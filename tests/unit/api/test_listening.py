"""What the kernel does for the gateway's connections."""

import asyncio
import socket
import sys

import pytest

from services.api.__main__ import listen


class Flood(asyncio.Protocol):
    """Writes much more than the kernel holds, and closes."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"x" * 32 * 2**20)
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has TCP_USER_TIMEOUT")
async def test_a_closed_connection_whose_client_reads_nothing_is_dropped() -> None:
    flood = Flood()
    loop = asyncio.get_running_loop()
    with listen("127.0.0.1", 0, send_timeout=0.2) as listener, socket.socket() as client:
        async with await loop.create_server(lambda: flood, sock=listener):
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            await asyncio.wait_for(flood.gone.wait(), 10)
