"""A turn whose gateway was killed goes on without it: busy as long as it runs, whole when over."""

import os
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.socket_client import SocketClient
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SESSIONS = "/ai-chat/api/sessions/"
UNRENEWED = 16.0
"""Seconds after which nothing but the record of the turn says that the session is busy."""


@pytest.fixture
async def two(tmp_path: Path) -> AsyncGenerator[Stack]:
    async with Stack(tmp_path / "data", "--gateways", "2") as stack:
        yield stack


class Orphan:
    """A turn that was asked for at a gateway which has died since."""

    def __init__(self, session: str, url: str) -> None:
        self.session = session
        self.url = url
        self.http = httpx.AsyncClient(base_url=url, timeout=30)

    async def send(self, text: str) -> httpx.Response:
        path = f"{SESSIONS}{self.session}/send_message/"
        return await self.http.post(path, json={"message": f"{text} [demo tokens=6 tps=0]"})

    async def messages(self) -> list[dict[str, Any]]:
        reply = await self.http.get(f"{SESSIONS}{self.session}/messages/")
        messages: list[dict[str, Any]] = reply.json()["messages"]
        return messages

    async def answer(self) -> dict[str, Any] | None:
        """The stored answer, once there is one."""
        messages = await self.messages()
        return messages[1] if len(messages) > 1 else None


async def read_until_killed(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], pid: int
) -> None:
    async with http.stream("POST", path, json=body) as reply:
        async for line in reply.aiter_lines():
            if '"content":"' in line and '"content":""' not in line:
                os.kill(pid, signal.SIGKILL)


async def orphan(stack: Stack, words: str) -> Orphan:
    """Ask at the first gateway, and kill it once it has said something."""
    gateways = {
        str(each["url"]).rstrip("/"): int(each["pid"])
        for each in await stack.ps()
        if each["name"].startswith("gateway")
    }
    first, second = sorted(gateways)
    async with httpx.AsyncClient(base_url=first, timeout=30) as http:
        session = (await http.post(SESSIONS, json={"model": "demo"})).json()["id"]
        path, body = f"{SESSIONS}{session}/send_message/", {"message": words, "stream": True}
        with pytest.raises(httpx.RemoteProtocolError):
            await read_until_killed(http, path, body, gateways[first])
    return Orphan(session, second)


async def test_its_session_is_busy_until_it_has_ended_and_newcomers_see_it(two: Stack) -> None:
    left = await orphan(two, "Go on alone [demo tokens=440 tps=20]")
    killed = time.monotonic()

    async def refused_for_long() -> bool:
        refused = await left.send("Me too")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "session_busy")
        return time.monotonic() - killed > UNRENEWED

    await eventually(refused_for_long, within=UNRENEWED + 5, every=0.5)
    async with SocketClient(left.url, f"/ws/ai-chat/session/{left.session}/") as newcomer:
        said = await newcomer.next("ai_message_chunk")
        assert len(said["content"]) > 100
        done = await newcomer.next("ai_message_complete", within=30)
        free = await left.send("And now?")
        assert newcomer.text == done["message"]["content"]
    assert free.status_code == 200, free.text
    stored = (await left.messages())[1]
    assert (stored["content"], stored["status"]) == (newcomer.text, "completed")
    assert stored["usage"]["completion_tokens"] == 440
    await left.http.aclose()


async def test_its_session_is_free_as_soon_as_it_has_ended_though_nobody_looks(two: Stack) -> None:
    left = await orphan(two, "A short one [demo tokens=60 tps=20]")
    stored = await eventually(left.answer)
    free = await left.send("And now?")
    assert free.status_code == 200, free.text
    assert stored is not None
    assert (stored["status"], stored["usage"]["completion_tokens"]) == ("completed", 60)
    assert len(await left.messages()) == 4
    await left.http.aclose()
