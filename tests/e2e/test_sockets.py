"""A conversation at sockets of two gateways outlives its workers and one of the gateways."""

import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from tests.support.socket_client import SocketClient
from tests.support.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ACK_WAIT = {"WORKER_ACK_WAIT": "2s"}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncGenerator[Stack]:
    arguments = ("--gateways", "2", "--workers", "2")
    async with Stack(tmp_path / "data", *arguments, environment=ACK_WAIT) as stack:
        yield stack


async def test_an_answer_at_two_sockets_outlives_both_workers_and_a_gateway(two: Stack) -> None:
    urls = sorted(
        str(each["url"]).rstrip("/")
        for each in await two.ps()
        if each["name"].startswith("gateway")
    )
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as http:
        made = await http.post("/ai-chat/api/sessions/", json={"model": "demo"})
        path = f"/ws/ai-chat/session/{made.json()['id']}/?full_content=false"
        async with (
            SocketClient(urls[0], path) as here,
            SocketClient(urls[1], path) as there,
        ):
            await here.next()
            await there.next()
            text = "Outlive them [demo tokens=60 tps=20]"
            await here.say({"type": "send_message", "message": text})
            for person in (here, there):
                await person.next("ai_message_chunk")
            for pid in await two.pids("worker"):
                os.kill(pid, signal.SIGKILL)
            (asked_at,) = [
                each["pid"] for each in await two.ps() if str(each["url"]).rstrip("/") == urls[0]
            ]
            os.kill(asked_at, signal.SIGKILL)
            await here.closed()
            last = next(m for m in reversed(here.got) if m["type"] == "ai_message_chunk")
            async with SocketClient(urls[1], path + "&join=false") as back:
                await back.say(
                    {
                        "type": "resume",
                        "completion_id": last["completion_id"],
                        "after": last["index"],
                    }
                )
                done = await back.next("ai_message_complete", within=30)
                assert (await there.next("ai_message_complete", within=30)) == done
                assert there.text == here.text + back.text == done["message"]["content"]
    assert done["message"]["usage"]["completion_tokens"] == 60
