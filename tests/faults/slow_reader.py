"""A client that takes almost nothing: its socket's buffer is small, and it reads when it likes."""

import asyncio
import json
import socket
import time
from urllib.parse import urlsplit

_BUFFER = 4096


class SlowReader:
    """Asks for a completion over a bare socket, so that nothing reads on in its stead."""

    def __init__(self, url: str, text: str) -> None:
        self._address = urlsplit(url)
        body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": text}]}
        data = json.dumps(body).encode()
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            "Content-Type: application/json\r\nX-Stream-Resume: true\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        ).encode() + data
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setblocking(False)
        self.raw = b""

    async def ask(self) -> None:
        """Send the request."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, (self._address.hostname, self._address.port))
        await loop.sock_sendall(self._socket, self._request)

    async def sip(self, seconds: float) -> None:
        """Take one byte a second."""
        loop = asyncio.get_running_loop()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.raw += await loop.sock_recv(self._socket, 1)
            await asyncio.sleep(1)

    async def take(self, size: int) -> None:
        """Take so many bytes as fast as they come."""
        loop = asyncio.get_running_loop()
        while len(self.raw) < size:
            self.raw += await loop.sock_recv(self._socket, _BUFFER)

    def close(self) -> None:
        """Let the connection go."""
        self._socket.close()

    @property
    def stream(self) -> bytes:
        """The event stream so far, without headers and chunk sizes."""
        head, _, rest = self.raw.partition(b"\r\n\r\n")
        del head
        found = b""
        while rest:
            size, separator, rest = rest.partition(b"\r\n")
            if not separator or not size:
                break
            length = int(size, 16)
            found += rest[:length]
            if length == 0 or len(rest) < length:
                break
            rest = rest[length + 2 :]
        return found[: found.rfind(b"\n\n") + 2]
