"""A client that reads a stream as it comes, and may leave in the middle."""

import asyncio
from types import TracebackType
from typing import Any, Self

from tests.fakes.api.gateway import RunningGateway
from tests.support.events import Event, parse_events
from tests.support.waiting import eventually


class Viewer:
    """``async with Viewer(gateway, "GET", path) as viewer: await viewer.sees("word")``."""

    def __init__(
        self,
        gateway: RunningGateway,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._request = gateway.http.build_request(method, path, json=body, headers=headers)
        self._http = gateway.http
        self.status = 0
        self.headers: dict[str, str] = {}
        self.got = b""
        self._task: asyncio.Task[None] | None = None

    async def _read(self) -> None:
        response = await self._http.send(self._request, stream=True)
        try:
            self.headers = dict(response.headers)
            self.status = response.status_code
            async for chunk in response.aiter_raw():
                self.got += chunk
        finally:
            await response.aclose()

    async def sees(self, text: str) -> None:
        """Return once ``text`` has come."""
        await eventually(lambda: text.encode() in self.got)

    async def begins(self) -> None:
        """Return once the headers have come."""
        await eventually(lambda: self.status)

    async def ends(self) -> list[Event]:
        """All events, once the stream is over."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), 15)
        return self.events

    @property
    def events(self) -> list[Event]:
        """The events so far."""
        return parse_events(self.got)

    async def leave(self) -> None:
        """Close the connection."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.leave()


ASK: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}
RESUMABLE = {"X-Stream-Resume": "true"}


def asking(gateway: RunningGateway, **more: Any) -> Viewer:  # noqa: ANN401 - any JSON
    """A client that asks for a stream to which it can come back."""
    body = {**ASK, **more}
    return Viewer(gateway, "POST", "/v1/chat/completions", body=body, headers=RESUMABLE)


def following(gateway: RunningGateway, completion_id: str, after: int | None = None) -> Viewer:
    """A client that goes on after event ``after``."""
    headers = {"Last-Event-ID": f"{completion_id}:{after}"} if after is not None else None
    path = f"/v1/chat/completions/{completion_id}/?stream=true"
    return Viewer(gateway, "GET", path, headers=headers)
