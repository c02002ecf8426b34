"""A connection whose client says what it likes, and what a server answers on it."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Self

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
WITHIN = 10


class Heard(NamedTuple):
    """Everything until the server closed."""

    data: bytes

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in _STATUS.findall(self.data)]

    @property
    def error(self) -> dict[str, Any]:
        """The last answer's."""
        error: dict[str, Any] = json.loads(self.data.rpartition(b"\r\n\r\n")[2])["error"]
        return error


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.answered = False
        """Whether anything has come: who goes on talking then may lose it to a reset."""

    async def say(self, data: bytes) -> Self:
        """Send it; a server that has closed already does not hear it."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()
        return self

    def no_more(self) -> None:
        """Close this side alone: nothing else will be said."""
        with suppress(OSError):
            self._writer.write_eof()

    async def hear(self) -> Heard:
        """Wait until the server closes."""
        data = b""
        with suppress(ConnectionError):
            while part := await asyncio.wait_for(self._reader.read(65536), WITHIN):
                data += part
                self.answered = True
        return Heard(data)

    async def answer(self) -> bytes:
        """The next answer; the connection may stay open."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), WITHIN)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = await self._reader.readexactly(int(length[1]) if length else 0)
        return head + body


@asynccontextmanager
async def wire_to(url: str) -> AsyncGenerator[Wire]:
    """A connection to a gateway at ``http://host:port``."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
