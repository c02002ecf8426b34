"""Somebody who waits is told how long yet, in comments that no client stumbles over."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.completions.queue_watch import EVERY
from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, text_of
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}
ADDRESS = "/v1/chat/completions"


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, header_hold=timedelta(milliseconds=100))


async def news_of(lines: AsyncIterator[str]) -> dict[str, int]:
    """The next comment about the queue."""
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith(": queued "):
                news: dict[str, int] = json.loads(line.removeprefix(": queued "))
                return news
    raise AssertionError("the stream has ended")


async def next_data(lines: AsyncIterator[str]) -> str:
    """The next event."""
    async for line in lines:
        if line.startswith("data: "):
            return line
    raise AssertionError("the stream has ended")


@pytest.mark.slow
async def test_those_who_wait_are_told_their_position_and_it_moves(
    gateway: RunningGateway, worker: ScriptedWorker, client: Client
) -> None:
    looks: list[str] = []

    async def see(message: Msg) -> None:
        looks.append(message.subject)

    await client.subscribe("$JS.API.CONSUMER.INFO.CHAT_REQUESTS.*", cb=see)
    await client.flush()
    clock = asyncio.get_running_loop().time
    begin = clock()
    async with (
        gateway.http.stream("POST", ADDRESS, json=ASK) as first,
        gateway.http.stream("POST", ADDRESS, json=ASK) as second,
    ):
        one, two = first.aiter_lines(), second.aiter_lines()
        assert await news_of(one) == {"position": 1}
        assert await news_of(two) == {"position": 2}
        # One look for both: on a busy machine the second may have come after the first one's look,
        # and then its news are of the next. Two who looked for themselves would be one too many.
        assert 1 <= len(looks) <= 1 + (clock() - begin) / EVERY
        job = await worker.take()
        await job.say("Hello")
        moved = await news_of(two)
        assert moved["position"] == 1
        # One was served between the first look and this one, which are two seconds apart or more.
        assert 500 < moved["estimated_wait_ms"] < 1000 * (clock() - begin)
        await job.end()
        rest = [line async for line in one]
        assert text_of("\n".join(rest)) == "Hello"
        last = await worker.take()
        await last.say("Bye")
        # Nobody waits any more, so nobody looks any more.
        assert "Bye" in await next_data(two)
        looked = len(looks)
        with pytest.raises(AssertionError):
            await eventually(lambda: len(looks) > looked + 1, within=4.5)
        await last.end()
        rest = [line async for line in two]
        assert rest[-2:] == ["data: [DONE]", ""]
        assert not any(line.startswith(": queued") for line in rest)


async def test_a_third_of_one_user_waits_in_lane_b_behind_lane_a(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    asking: list[asyncio.Task[httpx.Response]] = [
        asyncio.create_task(gateway.http.post(ADDRESS, json=ASK)) for _ in range(2)
    ]
    jobs = []
    for _ in asking:
        jobs.append(await worker.take())
    async with gateway.http.stream("POST", ADDRESS, json=ASK) as third:
        assert await news_of(third.aiter_lines()) == {"position": 1}
    for job in jobs:
        await job.end()
    await asyncio.gather(*asking)


async def test_a_stream_with_ids_ends_its_comments_with_one_newline(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    headers = {"X-Stream-Resume": "true"}
    async with gateway.http.stream("POST", ADDRESS, json=ASK, headers=headers) as response:
        got = ""
        async for part in response.aiter_text():
            got += part
            if ": queued" in got:
                break
    assert got.endswith('"position":1}\n')
    assert "\n\n" not in got
