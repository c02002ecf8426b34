"""A sync over a real broker and real worker processes, with an engine whose models change."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contracts import subjects
from shared.contracts.workers import EngineRelisted
from shared.messaging.asking import new_answer_inbox
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.inference_worker.world import World, a_world
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

SYNC = "/api/chat/models/sync_models/"
NOTHING: dict[str, list[Any]] = {"added": [], "removed": [], "updated": [], "failed": []}
UNHURRIED = "1h"
"""No check of their own: what is seen comes of the sync."""


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def gateway_of(server: NatsServer, *, workers: int) -> AsyncGenerator[RunningGateway]:
    """A gateway that sees so many workers."""
    async with RunningGateway(quick_settings(server.url)) as running:

        async def seen() -> bool:
            health = (await running.http.get("/v1/health")).json()
            return len(health["workers"]) == workers

        await eventually(seen)
        yield running


@pytest.fixture
async def two(world: World, nats_server: NatsServer) -> AsyncGenerator[RunningGateway]:
    """A gateway before two workers of one engine without ``demo-json``."""
    await world.shelve(absent=["demo-json"])
    for _ in range(2):
        await world.worker(WORKER_CHECK_INTERVAL=UNHURRIED)
    async with gateway_of(nats_server, workers=2) as gateway:
        yield gateway


async def models(gateway: RunningGateway) -> set[str]:
    return {it["id"] for it in (await gateway.http.get("/v1/models")).json()["data"]}


async def test_what_the_engine_has_got_is_served_as_soon_as_the_sync_says_so(
    world: World, two: RunningGateway
) -> None:
    assert "demo-json" not in await models(two)
    await world.shelve(absent=["demo-slow"], renewed=["demo"])

    reply = await two.http.post(SYNC)

    assert reply.status_code == 200
    assert reply.json() == {
        "added": ["demo-json"],
        "removed": ["demo-slow"],
        "updated": ["demo"],
        "workers": 2,
        "failed": [],
    }
    assert {"demo-json"} <= await models(two) - {"demo-slow"}
    assert "demo-slow" not in await models(two)
    message = {"role": "user", "content": "[demo tokens=2 tps=0]"}
    answer = await two.http.post(
        "/v1/chat/completions", json={"model": "demo-json", "messages": [message]}
    )
    assert answer.status_code == 200, answer.text


async def test_a_second_sync_finds_nothing_new(two: RunningGateway) -> None:
    await two.http.post(SYNC)
    assert (await two.http.post(SYNC)).json() == {**NOTHING, "workers": 2}


async def test_syncs_at_two_gateways_at_once_are_harmless(
    world: World, two: RunningGateway, nats_server: NatsServer
) -> None:
    async with gateway_of(nats_server, workers=2) as other:
        await world.shelve()

        replies = await asyncio.gather(*((two, other)[n % 2].http.post(SYNC) for n in range(8)))

        for reply in replies:
            assert reply.json() | {"added": []} == {**NOTHING, "workers": 2}
        assert "demo-json" in await models(two) & await models(other)


@pytest.mark.slow
async def test_an_engine_that_is_away_is_a_failed_worker_and_its_models_stay(
    world: World, two: RunningGateway
) -> None:
    before = await models(two)
    world.stop_engine()

    synced = (await two.http.post(SYNC)).json()

    assert (synced["workers"], len(synced["failed"])) == (0, 2)
    assert all(it["error"] for it in synced["failed"])
    assert (synced["removed"], await models(two)) == ([], before)


@pytest.mark.slow
async def test_a_worker_that_hangs_holds_a_sync_up_for_its_deadline_only(
    world: World, nats_server: NatsServer
) -> None:
    await world.worker(WORKER_CHECK_INTERVAL=UNHURRIED)
    hanging = await world.worker(WORKER_CHECK_INTERVAL=UNHURRIED)
    async with gateway_of(nats_server, workers=2) as gateway:
        hanging.freeze()
        began = asyncio.get_running_loop().time()

        synced = (await gateway.http.post(SYNC)).json()

        assert asyncio.get_running_loop().time() - began < 8
        failures = [it["error"] for it in synced["failed"]]
        assert (synced["workers"], failures) == (1, ["no answer within 5 s"])
        hanging.thaw()


async def test_without_a_worker_a_sync_is_over_at_once(
    world: World, nats_server: NatsServer
) -> None:
    async with gateway_of(nats_server, workers=0) as gateway:
        began = asyncio.get_running_loop().time()
        assert (await gateway.http.post(SYNC)).json() == {**NOTHING, "workers": 0}
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_worker_that_is_stopped_during_a_sync_ends_in_time(
    world: World, client: Client
) -> None:
    worker = await world.worker(WORKER_CHECK_INTERVAL=UNHURRIED)
    replies: list[EngineRelisted] = []

    async def receive(message: Msg) -> None:
        if message.data:
            replies.append(EngineRelisted.from_bytes(message.data))

    inbox = new_answer_inbox()
    await client.subscribe(f"{inbox}.*", cb=receive)
    for number in range(20):
        await client.publish(subjects.SYNC, b"", reply=f"{inbox}.{number}")
    await client.flush()
    worker.terminate()

    assert await worker.ended(within=8) == 0
    assert len({reply.worker_id for reply in replies}) <= 1
