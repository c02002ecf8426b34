"""A small HTTP server that speaks Ollama's chat protocol as a test scripts it, byte by byte."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Lines:
    """NDJSON lines, written to the socket at once."""

    lines: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Raw:
    """Bytes as they are, as one chunk of the body."""

    data: bytes


@dataclass(frozen=True)
class Status:
    """A reply of this status with an ``error`` in its body; nothing follows."""

    status: int
    error: str


class Hang:
    """Silence until the client goes away."""


class Cut:
    """The connection breaks."""


HttpStep = Lines | Raw | Status | Hang | Cut


def line(content: str = "", *, done: bool = False, **fields: object) -> dict[str, Any]:
    """One line of ``/api/chat``."""
    message: dict[str, object] = {"role": "assistant", "content": content}
    for name in ("thinking", "tool_calls"):
        if name in fields:
            message[name] = fields.pop(name)
    return {"model": "demo:latest", "message": message, "done": done, **fields}


class HttpEngine:
    """Each request takes the next script; without an end of its own a script ends cleanly."""

    def __init__(self, *scripts: Sequence[HttpStep]) -> None:
        self._scripts = list(scripts)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.bodies: list[dict[str, Any]] = []
        self.connections = 0
        self.open = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(
                        int(row.split(b":")[1])
                        for row in head.lower().split(b"\r\n")
                        if row.startswith(b"content-length:")
                    )
                    self.bodies.append(json.loads(await reader.readexactly(length)))
                    if not await self._answer(reader, writer):
                        return
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        self.open += 1
        try:
            return await self._play(script, reader, writer)
        finally:
            self.open -= 1

    async def _play(
        self,
        script: Sequence[HttpStep],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        begun = False
        for step in script:
            if isinstance(step, Status):
                body = json.dumps({"error": step.error}).encode()
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (step.status, len(body)) + body
                )
                return True
            if isinstance(step, Cut):
                return False
            if isinstance(step, Hang):
                await reader.read()
                return False
            if not begun:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
                    b"transfer-encoding: chunked\r\n\r\n"
                )
                begun = True
            data = step.data if isinstance(step, Raw) else _ndjson(step.lines)
            writer.write(b"%x\r\n" % len(data) + data + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _ndjson(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)
