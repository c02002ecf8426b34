"""Cancels around the pull of a real worker: one outcome each, and no engine at work after it."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client

from shared.contracts import streams
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.inference_worker.world import World, a_world
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ADDRESS = "/v1/chat/completions"
ROUNDS = 40


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path, ack_wait=5.0) as opened:
        yield opened


async def ends(world: World) -> list[CompletionCompleted]:
    replay = world.jetstream.replay(streams.EVENTS, "chat.events.completed.*")
    return [CompletionCompleted.from_bytes(message.data) async for message in replay]


async def ask_and_cancel(
    here: RunningGateway, there: RunningGateway, delay: float
) -> tuple[httpx.Response, float, str]:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": "Go on [demo tokens=500 tps=50]"}],
        "stream": True,
    }
    headers = {"X-Stream-Resume": "true"}
    async with here.http.stream("POST", ADDRESS, json=body, headers=headers) as response:
        completion_id = response.headers["x-completion-id"]
        # Not a wait for anything: the moment is what is tried.
        await asyncio.sleep(delay)
        cancelled = await there.http.post(f"{ADDRESS}/{completion_id}/cancel")
        told = time.time()
        text = "".join([part async for part in response.aiter_text()])
    return cancelled, told, text


@pytest.mark.slow
async def test_cancels_at_random_moments_around_a_real_pull(
    nats_server: NatsServer, world: World
) -> None:
    await world.worker(WORKER_SLOTS="1")
    dice = random.Random(11)
    settings = quick_settings(nats_server.url)
    async with RunningGateway(settings) as here, RunningGateway(settings) as there:

        async def served() -> bool:
            return bool((await here.http.get("/v1/models")).json()["data"])

        await eventually(served)
        told: list[float] = []
        for _ in range(ROUNDS):
            cancelled, moment, text = await ask_and_cancel(here, there, dice.uniform(0, 0.05))
            assert cancelled.status_code == 200, cancelled.text
            assert cancelled.json()["status"] == "cancelled"
            assert text.endswith("data: [DONE]\n\n")
            assert text.count('"code":"cancelled"') == 1
            told.append(moment)

    recorded = await ends(world)
    assert len(recorded) == ROUNDS
    assert len({end.completion_id for end in recorded}) == ROUNDS
    assert {end.status for end in recorded} == {CompletionStatus.CANCELLED}
    assert await world.queued() == 0

    async def all_closed() -> bool:
        return all(entry["ended_at"] is not None for entry in await world.engine_log())

    await eventually(all_closed)
    log = await world.engine_log()
    assert 0 < len(log) <= ROUNDS
    for entry in log:
        assert entry["outcome"] == "closed_by_client"
        after = min(abs(entry["ended_at"] - moment) for moment in told)
        assert after < 0.3
        assert entry["tokens_sent"] < 50
