"""A person at a socket: what was sent, what came, in order."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.support.documented import check

Message = dict[str, Any]


class SocketClient:
    """``async with SocketClient(url, "/ws/ai-chat/sessions/") as person: await person.next()``."""

    def __init__(self, gateway_url: str, path: str, **headers: str) -> None:
        self._url = gateway_url.replace("http", "ws", 1) + path
        self._headers = headers
        self._socket: ClientConnection
        self.got: list[Message] = []

    async def __aenter__(self) -> Self:
        self._socket = await connect(self._url, additional_headers=self._headers, proxy=None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def say(self, message: object) -> None:
        """Send JSON, or text or bytes as they are."""
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        await self._socket.send(raw)

    async def next(self, kind: str | None = None, *, within: float = 10) -> Message:
        """The next message, or the next of a type; what comes before it is kept in ``got``."""
        async with asyncio.timeout(within):
            while True:
                message: Message = json.loads(await self._socket.recv())
                check(message)
                self.got.append(message)
                if kind in (None, message["type"]):
                    return message

    async def closed(self) -> int:
        """The code that it is closed with."""
        async with asyncio.timeout(10):
            while True:
                try:
                    self.got.append(json.loads(await self._socket.recv()))
                except websockets.ConnectionClosed:
                    return int(self._socket.close_code or 0)

    @property
    def close_reason(self) -> str | None:
        """What was said with the code."""
        return self._socket.close_reason

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._socket.transport.abort()

    @property
    def types(self) -> list[str]:
        """Of everything that came; chunks in a row count as one."""
        kinds = [message["type"] for message in self.got]
        return [kind for n, kind in enumerate(kinds) if n == 0 or kind != kinds[n - 1]]

    @property
    def text(self) -> str:
        """All pieces of answers, joined."""
        return "".join(
            message["content"] for message in self.got if message["type"] == "ai_message_chunk"
        )
