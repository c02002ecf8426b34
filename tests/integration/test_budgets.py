"""Budgets over real gateways, a real broker and history: one counter, and never less than usage."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from shared.contracts import streams
from shared.contracts.chat import CompletionStatus
from shared.messaging.jetstream import JetStream
from shared.tasks import end_tasks
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import bearer, new_key
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker
from tests.fakes.history.running import all_stored
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually
from tests.support.wiping import wipe

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

ADDRESS = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
HELLO = {"message": "Hello"}
EACH = 25
"""Tokens of every answer of the scripted worker."""


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, tokens_per_month=3 * EACH)


@pytest.fixture
async def three(gateway_settings: GatewaySettings) -> AsyncGenerator[list[RunningGateway]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RunningGateway(gateway_settings)) for _ in range(3)]


async def serve(worker: ScriptedWorker) -> None:
    """Answer whatever comes."""
    while True:
        job = await worker.take(within=60)
        await job.say("Hi")
        await job.end()


@pytest.fixture
async def serving(worker: ScriptedWorker) -> AsyncGenerator[None]:
    task = asyncio.create_task(serve(worker))
    yield
    await end_tasks([task])


async def ask(gateway: RunningGateway, key: str | None = None) -> int:
    headers = bearer(key) if key is not None else {}
    return (await gateway.http.post(ADDRESS, json=ASK, headers=headers)).status_code


async def used(gateway: RunningGateway, key: str | None = None) -> list[int]:
    headers = bearer(key) if key is not None else {}
    reply = await gateway.http.get("/api/chat/budget/", headers=headers)
    assert reply.status_code == 200, reply.text
    return [line["tokens"]["used"] for line in reply.json()["budgets"]]


async def reported(gateway: RunningGateway) -> int:
    reply = await gateway.http.get("/api/chat/usage/")
    return int(reply.json()["total"]["totalTokens"])


@pytest.mark.usefixtures("serving")
async def test_what_is_used_at_one_gateway_is_gone_at_all_of_them(
    three: list[RunningGateway],
) -> None:
    assert [await ask(gateway) for gateway in three] == [200, 200, 200]
    for gateway in three:
        refused = await gateway.http.post(ADDRESS, json=ASK)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "insufficient_quota"
        assert await used(gateway) == [3 * EACH]
    assert await reported(three[0]) == 3 * EACH


async def test_what_is_under_way_at_three_gateways_is_finished_and_counted_to_the_token(
    worker: ScriptedWorker, three: list[RunningGateway]
) -> None:
    # All are let in: nobody knows what they will cost.
    asking = [asyncio.create_task(ask(gateway)) for gateway in three for _ in range(2)]
    jobs = [await worker.take() for _ in asking]
    assert [await used(gateway) for gateway in three] == [[0]] * 3
    for job in jobs:
        await job.say("Hi")

    async def end(number: int) -> None:
        await jobs[number].end()

    await asyncio.gather(*(end(number) for number in range(len(jobs))))
    assert await asyncio.gather(*asking) == [200] * len(jobs)
    for gateway in three:
        assert await used(gateway) == [len(jobs) * EACH]
        assert await ask(gateway) == 429
    assert await reported(three[1]) == len(jobs) * EACH


@pytest.mark.usefixtures("serving")
async def test_a_wiped_broker_gives_nobody_a_new_month(
    three: list[RunningGateway], nats_server: NatsServer, provisioned: JetStream, tmp_path: Path
) -> None:
    assert [await ask(three[0]) for _ in range(2)] == [200, 200]
    await eventually(lambda: all_stored(provisioned))
    await wipe(nats_server, provisioned)

    async def known() -> bool:
        replies = [await gateway.http.get("/api/chat/budget/") for gateway in three]
        assert {reply.status_code for reply in replies} <= {200, 503}
        return {reply.status_code for reply in replies} == {200}

    await eventually(known, within=20)
    assert [await used(gateway) for gateway in three] == [[2 * EACH]] * 3


async def test_a_lost_counter_is_added_up_once_whoever_ends_meanwhile(
    worker: ScriptedWorker, three: list[RunningGateway], provisioned: JetStream
) -> None:
    first = asyncio.create_task(ask(three[0]))
    job = await worker.take()
    await job.say("Hi")
    await job.end()
    assert await first == 200
    running = [asyncio.create_task(ask(gateway)) for gateway in three[:2]]
    jobs = [await worker.take() for _ in running]
    # Nobody but the provisioner may do this to a stream; its keys are as good as gone.
    await purge(provisioned)
    assert await used(three[2]) == [EACH]
    for job in jobs:
        await job.say("Hi")
        await job.end()
    assert await asyncio.gather(*running) == [200, 200]
    assert [await used(gateway) for gateway in three] == [[3 * EACH]] * 3
    assert await ask(three[2]) == 429


async def purge(jetstream: JetStream) -> None:
    """Empty the counters."""
    bucket = streams.bucket_stream(streams.BUDGETS)
    await jetstream.api(f"STREAM.PURGE.{bucket}")


@pytest.mark.usefixtures("serving")
async def test_events_that_come_again_and_a_history_that_starts_again_count_nothing_twice(
    three: list[RunningGateway], provisioned: JetStream
) -> None:
    assert await ask(three[0]) == 200
    event = await provisioned.last(streams.EVENTS, "chat.events.completed.>")
    assert event is not None
    # Another message with the same end, as a redelivery is to whoever consumes it.
    await provisioned.publish(f"{event.subject}", event.data)
    await eventually(lambda: all_stored(provisioned))
    await purge(provisioned)
    assert [await used(gateway) for gateway in three] == [[EACH]] * 3


async def test_an_answer_whose_client_has_left_is_charged_all_the_same(
    worker: ScriptedWorker, three: list[RunningGateway]
) -> None:
    asking = asyncio.create_task(ask(three[0]))
    job = await worker.take()
    asking.cancel()
    await asyncio.wait_for(job.cancelled.wait(), 5)
    await job.say("Hi")
    await job.end(CompletionStatus.CANCELLED)

    async def counted() -> bool:
        return await used(three[1]) == [EACH]

    await eventually(counted)


@pytest.mark.usefixtures("serving")
async def test_without_the_database_who_is_known_goes_on_and_nobody_else(
    three: list[RunningGateway], mongo: MongoServer, provisioned: JetStream
) -> None:
    assert await ask(three[0]) == 200
    await eventually(lambda: all_stored(provisioned))
    mongo.kill()
    assert [await ask(gateway) for gateway in three] == [200, 200, 429]
    await purge(provisioned)
    refused = await three[1].http.post(ADDRESS, json=ASK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "history_unavailable")
    mongo.start()

    async def back() -> bool:
        return await ask(three[1]) == 429

    await eventually(back, within=30)
    assert await used(three[2]) == [3 * EACH]


async def test_without_the_broker_nobody_is_let_in(
    three: list[RunningGateway], nats_server: NatsServer, client: Client
) -> None:
    nats_server.stop()
    assert [await ask(gateway) for gateway in three] == [503] * 3
    await nats_server.start()

    async def back() -> bool:
        replies = [await gateway.http.get("/api/chat/budget/") for gateway in three]
        return client.is_connected and {reply.status_code for reply in replies} == {200}

    await eventually(back, within=20)


@pytest.mark.usefixtures("serving")
async def test_a_key_has_its_own_month_also_after_its_counter_was_lost(
    nats_server: NatsServer, client: Client, provisioned: JetStream
) -> None:
    settings = quick_settings(nats_server.url, auth="required", tokens_per_month=10 * EACH)
    async with RunningGateway(settings) as gateway, RunningGateway(settings) as other:
        small = (await new_key(client, "ann", tokens_per_month=2 * EACH)).secret
        plain = (await new_key(client, "ann")).secret

        async def admitted() -> bool:
            tried = [
                await where.http.get("/v1/models", headers=bearer(key))
                for where in (gateway, other)
                for key in (small, plain)
            ]
            return {reply.status_code for reply in tried} == {200}

        await eventually(admitted)
        assert await ask(gateway, small) == 200
        assert await ask(gateway, plain) == 200
        assert await used(other, small) == [2 * EACH, EACH]
        await purge(provisioned)
        # Usage knows with which key an answer was asked for.
        assert await used(other, small) == [2 * EACH, EACH]
        assert await ask(other, small) == 200
        assert [await ask(where, small) for where in (gateway, other)] == [429, 429]
        assert await ask(gateway, plain) == 200
        assert await used(gateway, plain) == [4 * EACH]


@pytest.mark.usefixtures("serving")
async def test_sockets_and_turns_are_refused_too(three: list[RunningGateway]) -> None:
    here, there = three[:2]
    session = await new_session(here)
    turn = await here.http.post(f"/api/chat/sessions/{session}/send_message/", json=HELLO)
    asked, said = turn.json()["userMessage"]["id"], turn.json()["aiMessage"]["id"]
    async with at(there, session) as person:
        await person.next()
        for _ in range(2):
            await person.say(send("Hello"))
            await person.next("ai_message_complete")
        await person.say(send("Hello"))
        error = await person.next("error")
        assert error["code"] == "insufficient_quota"
        assert error["message"].startswith("Your budget of this month is used up: 75 of 75 tokens.")
        assert error.get("retry_after") is None
        # The socket stays, for whoever only reads.
        await person.say({"type": "ping"})
        assert (await person.next("pong"))["type"] == "pong"
    for face in ("/api/chat", "/ai-chat/api"):
        address = f"{face}/sessions/{session}"
        refused: list[httpx.Response] = [
            await here.http.post(f"{address}/send_message/", json=HELLO),
            await there.http.post(f"{address}/messages/{said}/regenerate/"),
            await here.http.patch(f"{address}/messages/{asked}/", json=HELLO),
        ]
        assert [each.status_code for each in refused] == [429] * 3
        assert {each.json()["error"]["code"] for each in refused} == {"insufficient_quota"}
    page = await here.http.get(f"/api/chat/sessions/{session}/messages/")
    assert len(page.json()["messages"]) == 6
