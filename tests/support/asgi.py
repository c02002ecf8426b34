"""One request of any bytes to an ASGI application: no client in between that mends them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httpx
from starlette.types import ASGIApp, Message

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """What came back, whole."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the last header of this name."""
        found = dict(self.headers).get(name.lower().encode())
        return found.decode("latin-1") if found is not None else None


async def ask(
    app: ASGIApp, method: str, target: bytes, headers: Headers, body: bytes = b""
) -> Answer:
    """As a server hands it over that has read it from the wire."""
    raw_path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        # As uvicorn has it.
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace")
        if b"%" in raw_path
        else raw_path.decode("ascii"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 4000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }
    messages: list[Message] = []
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError("nothing else comes")

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start, *rest = messages
    return Answer(
        start["status"], list(start["headers"]), b"".join(it.get("body", b"") for it in rest)
    )


@asynccontextmanager
async def http_client(app: ASGIApp) -> AsyncGenerator[httpx.AsyncClient]:
    """For what needs no bytes of its own."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
