"""A completion ends with the key that began it, and with no other; opening sockets is counted."""

import asyncio

import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import ASK, admin_of, admits, bearer, new_key, ready
from tests.fakes.api.worker import ScriptedWorker, text_of
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

ADDRESS = "/v1/chat/completions"
STREAM = {**ASK, "stream": True}


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, auth="required")


async def two_keys(client: Client, gateway: RunningGateway) -> tuple[str, str, str]:
    """An id and its key, and another key of the same user."""
    await ready(gateway)
    first, second = await new_key(client, "alice"), await new_key(client, "alice")
    await eventually(lambda: admits(gateway, first.secret))
    await eventually(lambda: admits(gateway, second.secret))
    return first.key.id, first.secret, second.secret


async def test_an_answer_whose_client_has_left_stops_with_its_key(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    key_id, secret, _ = await two_keys(client, gateway)
    headers = bearer(secret) | {"X-Stream-Resume": "true"}
    asking = asyncio.create_task(gateway.http.post(ADDRESS, json=STREAM, headers=headers))
    job = await worker.take()
    await job.say("Hello")
    asking.cancel()
    await asyncio.wait({asking})
    await admin_of(client).revoke(key_id)
    await job.stopped(within=2)


async def test_who_repeats_a_request_with_another_key_does_not_take_it_along(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    key_id, secret, other = await two_keys(client, gateway)
    repeated = {"Idempotency-Key": "once"}
    first = asyncio.create_task(
        gateway.http.post(ADDRESS, json=STREAM, headers=bearer(other) | repeated)
    )
    job = await worker.take()
    await job.say("Hello")
    opening = gateway.http.stream("POST", ADDRESS, json=STREAM, headers=bearer(secret) | repeated)
    async with opening as second:
        lines = second.aiter_lines()
        assert "Hello" in await anext(lines)
        await admin_of(client).revoke(key_id)
        rest = "\n".join([line async for line in lines])
        assert "invalid_api_key" in rest
    await job.say(" there")
    await job.end()
    assert text_of((await first).text) == "Hello there"
    assert not job.cancelled.is_set()


async def test_a_request_that_ended_with_its_key_runs_anew_with_another(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    key_id, secret, other = await two_keys(client, gateway)
    repeated = {"Idempotency-Key": "once"}
    first = asyncio.create_task(
        gateway.http.post(ADDRESS, json=ASK, headers=bearer(secret) | repeated)
    )
    job = await worker.take()
    await job.say("Hello")
    await admin_of(client).revoke(key_id)
    assert (await first).status_code == 401
    await job.stopped(within=2)
    again = asyncio.create_task(
        gateway.http.post(ADDRESS, json=ASK, headers=bearer(other) | repeated)
    )
    anew = await worker.take()
    await anew.say("Hello again")
    await anew.end()
    reply = await again
    assert reply.json()["choices"][0]["message"]["content"] == "Hello again"


async def test_tickets_that_nobody_gave_are_counted_by_address(nats_server: NatsServer) -> None:
    settings = quick_settings(nats_server.url, auth="required", other_requests_per_minute=5)
    async with RunningGateway(settings) as gateway:
        await ready(gateway)
        path = f"{ADDRESS}/chatcmpl-{'1' * 32}"
        made_up = [f"{number:043d}" for number in range(12)]
        replies = [await gateway.http.get(path, params={"ticket": text}) for text in made_up]
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {401, 429}
        assert statuses == sorted(statuses)
        async with SocketClient(gateway.url, f"/ws/ai-chat/sessions/?ticket={made_up[0]}") as late:
            assert await late.closed() == 4429


async def test_opening_sockets_is_counted_like_any_request(
    nats_server: NatsServer, client: Client
) -> None:
    settings = quick_settings(nats_server.url, auth="required", other_requests_per_minute=5)
    async with RunningGateway(settings) as gateway:
        await ready(gateway)
        key = await new_key(client, "alice")
        await eventually(lambda: admits(gateway, key.secret))
        codes = []
        for _ in range(8):
            path = f"/ws/ai-chat/sessions/?token={key.secret}"
            async with SocketClient(gateway.url, path) as person:
                first = await person.next()
                if first["type"] == "error":
                    assert first["retry_after"] >= 1
                    codes.append(await person.closed())
        assert codes
        assert set(codes) == {4429}
