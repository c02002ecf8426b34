"""Models, health and admission as workers, history and the broker come and go."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from services.api.adapters.nats_connection import NatsConnection
from services.api.adapters.nats_inbox import NatsInbox
from shared.contracts import streams
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream
from shared.tasks import end_tasks
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.history import FakeHistory, history_service
from tests.fakes.api.worker import announce, scripted_worker
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def gateway(
    nats_server: NatsServer, provisioned: JetStream
) -> AsyncGenerator[RunningGateway]:
    settings = quick_settings(nats_server.url, catalog_age=timedelta(seconds=1))
    async with RunningGateway(settings) as running:
        yield running


async def model_ids(gateway: RunningGateway) -> list[str]:
    response = await gateway.http.get("/v1/models")
    return [model["id"] for model in response.json()["data"]]


async def test_a_worker_brings_its_models_at_once_and_takes_them_along_when_it_leaves(
    gateway: RunningGateway, provisioned: JetStream
) -> None:
    assert await model_ids(gateway) == []
    await announce(provisioned, "w1")
    await announce(provisioned, "w2")

    async def there() -> bool:
        return await model_ids(gateway) == ["demo"]

    await eventually(there, within=1)
    bucket = Bucket(provisioned, streams.CATALOG)
    await bucket.purge("worker.w1")
    await bucket.purge("worker.w2")

    async def gone() -> bool:
        return await model_ids(gateway) == []

    await eventually(gone, within=0.8)


async def test_a_worker_that_falls_silent_takes_its_models_along(
    gateway: RunningGateway, provisioned: JetStream
) -> None:
    await announce(provisioned)

    async def gone() -> bool:
        return await model_ids(gateway) == []

    await eventually(gone, within=3)


async def test_what_was_announced_before_the_gateway_started_is_there_at_once(
    nats_server: NatsServer, provisioned: JetStream
) -> None:
    await announce(provisioned)
    async with RunningGateway(quick_settings(nats_server.url)) as gateway:

        async def there() -> bool:
            return await model_ids(gateway) == ["demo"]

        await eventually(there, within=1)


async def test_an_unknown_model_is_404_and_a_known_one_without_worker_503(
    gateway: RunningGateway, provisioned: JetStream
) -> None:
    unknown = await gateway.http.post("/v1/chat/completions", json={**ASK, "model": "nobody"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"

    await announce(provisioned)
    known = await gateway.http.post("/v1/chat/completions", json=ASK)
    assert known.status_code == 503
    assert known.json()["error"]["code"] == "no_worker"
    info = await provisioned.api(f"STREAM.INFO.{streams.EVENTS}")
    assert info["state"]["messages"] == 0


async def test_health_knows_every_part(
    gateway: RunningGateway, client: Client, provisioned: JetStream
) -> None:
    assert (await gateway.http.get("/v1/health")).status_code == 503
    async with history_service(client, FakeHistory()):
        await announce(provisioned)

        async def well() -> bool:
            return (await gateway.http.get("/v1/health")).status_code == 200

        await eventually(well)
        body = (await gateway.http.get("/v1/health")).json()
    assert body["status"] == "ok"
    assert body["nats"]["state"] == "ok"
    assert body["nats"]["latencyMs"] > 0
    assert body["history"]["database"] == "ok"
    assert body["workers"] == [
        {"id": "w1", "state": "ok", "slots": 2, "free": 1, "models": ["demo:latest"]}
    ]
    assert body["engines"][0]["url"] == "http://engine"


async def test_while_the_broker_is_away_all_is_503_and_afterwards_it_works_again(
    nats_server: NatsServer, gateway: RunningGateway, client: Client, provisioned: JetStream
) -> None:
    assert (await gateway.http.get("/readyz")).status_code == 200
    nats_server.kill()

    async def refused() -> bool:
        response = await gateway.http.post("/v1/chat/completions", json=ASK)
        return bool(response.json()["error"]["code"] == "broker_unavailable")

    await eventually(refused)
    assert (await gateway.http.get("/readyz")).status_code == 503
    assert (await gateway.http.get("/v1/health")).status_code == 503
    assert (await gateway.http.get("/v1/models")).json()["data"] == []
    session = await gateway.http.get("/api/chat/sessions/")
    assert session.status_code == 503
    assert session.json()["error"]["code"] == "history_unavailable"

    await nats_server.start()
    await eventually(lambda: client.is_connected)

    async def ready() -> bool:
        return (await gateway.http.get("/readyz")).status_code == 200

    await eventually(ready)
    async with scripted_worker(client, provisioned) as worker:
        answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
        job = await worker.take()
        await job.say("back")
        await job.end()
        assert (await answer).json()["choices"][0]["message"]["content"] == "back"


async def test_too_much_for_the_broker_is_413_with_both_numbers(
    nats_server: NatsServer, client: Client, provisioned: JetStream
) -> None:
    settings = quick_settings(nats_server.url, max_body_bytes=10 * 2**20)
    long = {**ASK, "messages": [{"role": "user", "content": "x" * (8 * 2**20)}]}
    async with scripted_worker(client, provisioned), RunningGateway(settings) as gateway:
        response = await gateway.http.post("/v1/chat/completions", json=long)
    assert response.status_code == 413
    error = response.json()["error"]
    assert error["code"] == "request_too_large"
    size, limit = [int(word) for word in error["message"].rstrip(".").split() if word.isdigit()]
    assert size > 8 * 2**20 > limit


async def test_a_history_that_falls_far_behind_stops_new_work(
    nats_server: NatsServer, client: Client, provisioned: JetStream
) -> None:
    async with scripted_worker(client, provisioned):
        config = (await provisioned.api(f"STREAM.INFO.{streams.EVENTS}"))["config"]
        small = {**config, "max_bytes": 10_000}
        await provisioned.api(f"STREAM.UPDATE.{streams.EVENTS}", small)
        for number in range(9):
            await provisioned.publish(f"chat.events.accepted.{number}", b"x" * 900)
        async with RunningGateway(quick_settings(nats_server.url)) as gateway:
            response = await gateway.http.post("/v1/chat/completions", json=ASK)

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "history_backlog"


async def test_what_is_slow_or_fails_after_a_reconnect_keeps_nothing_else_waiting(
    client: Client,
) -> None:
    told = asyncio.Event()

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise RuntimeError("broken")

    async def tell() -> None:
        told.set()

    inbox = NatsInbox(client)
    connection = NatsConnection(client, inbox, on_connected=[hang, fail, tell])
    await connection.begin()
    watching = asyncio.create_task(connection.watch())
    try:
        await asyncio.wait_for(told.wait(), 5)
    finally:
        await end_tasks([watching])
        await inbox.close()
