"""A socket at an ASGI application, frame by frame: no client in between that refuses any."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.types import ASGIApp, Message

WITHIN: Final = 10


class Socket:
    """The client's side, without a network: frames as a server hands them over."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[Message] = asyncio.Queue()
        self.hears: asyncio.Queue[Message] = asyncio.Queue()
        self.first: dict[str, Any] | int = 0

    def say(self, **message: object) -> None:
        self.says.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def next(self) -> dict[str, Any] | int:
        """The next message, or the code that it was closed with."""
        frame = await asyncio.wait_for(self.hears.get(), WITHIN)
        if frame["type"] == "websocket.close":
            return int(frame["code"])
        message: dict[str, Any] = json.loads(frame["text"])
        return message

    async def until_pong(self, errors: int) -> list[dict[str, Any]] | int:
        """What comes until a ping is answered, and so many errors at least."""
        self.says.put_nowait({"type": "websocket.receive", "text": '{"type":"ping","id":1}'})
        heard: list[dict[str, Any]] = []
        while True:
            message = await self.next()
            if isinstance(message, int):
                return message
            heard.append(message)
            kinds = [each["type"] for each in heard]
            if "pong" in kinds and kinds.count("error") >= errors:
                return heard


@asynccontextmanager
async def at(app: ASGIApp, path: str, *headers: tuple[bytes, bytes]) -> AsyncGenerator[Socket]:
    """An accepted socket that has said its first message, which is in ``first``."""
    socket = Socket()
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 4000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {},
    }

    async def send(message: Message) -> None:
        socket.hears.put_nowait(message)

    socket.says.put_nowait({"type": "websocket.connect"})
    serving = asyncio.ensure_future(app(scope, socket.says.get, send))
    try:
        accepted = await asyncio.wait_for(socket.hears.get(), WITHIN)
        assert accepted["type"] == "websocket.accept"
        socket.first = await socket.next()
        yield socket
    finally:
        socket.says.put_nowait({"type": "websocket.disconnect", "code": 1005})
        await asyncio.wait_for(serving, WITHIN)
