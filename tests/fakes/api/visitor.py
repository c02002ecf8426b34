"""One HTTP request from the ASGI side, and what becomes of it when its client goes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message

from services.api.settings import Settings
from shared.contracts.chat import CompletionStatus, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld, app_of


class Visitor:
    """One HTTP request whose connection the test holds."""

    def __init__(self, **body: object) -> None:
        full = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **body}
        self._body = json.dumps(full).encode()
        self._asked = False
        self.headers: list[tuple[bytes, bytes]] = [(b"host", b"localhost")]
        self.leave = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self.status = 0
        self.got = b""
        self.over = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.got += message["body"]
        self.over = not message.get("more_body", False)

    @property
    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": self.headers,
            "server": ("gateway", 80),
            "scheme": "http",
        }


@asynccontextmanager
async def visiting(
    world: FakeWorld, visitor: Visitor, settings: Settings | None = None
) -> AsyncGenerator[asyncio.Task[Any]]:
    async with app_of(world, settings or quick_settings()) as app:
        call = app(visitor.scope, visitor.receive, visitor.send)
        yield asyncio.create_task(call)  # type: ignore[arg-type]


def first_token(world: FakeWorld) -> Callable[[RunCompletion], None]:
    def serve(command: RunCompletion) -> None:
        body = b'data: {"choices":[]}\n\n'
        frame = Frame(FrameKind.TOKENS, 1, 0, 1, 1, 1, 0, body)
        world.mailboxes.boxes[command.completion_id].put(frame)

    return serve


def end_of(world: FakeWorld, status: CompletionStatus, usage: Usage | None = None) -> None:
    (command,) = [RunCompletion.from_bytes(data) for data in world.queue.requests.values()]
    event = CompletionCompleted(
        completion_id=command.completion_id,
        user_id=command.user_id,
        model="demo",
        status=status,
        created_at=NOON,
        completed_at=NOON,
        events=1,
        usage=usage,
        place=command.place,
    )
    world.journal.ends[command.completion_id] = event
    frame = Frame(FrameKind.END, 1, 1, 0, 0, 0, 0, event.to_bytes())
    world.mailboxes.boxes[command.completion_id].put(frame)
