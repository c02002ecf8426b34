"""``API_AUTH=open``: completions for anyone, known by address; what is kept needs a token."""

import asyncio

import pytest
from nats.aio.client import Client

from services.api.access.addresses import anonymous_id
from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import ASK, admits, bearer, new_key, ready
from tests.fakes.api.worker import ScriptedWorker
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

HERE = anonymous_id("127.0.0.1")


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, auth="open")


async def user_of(
    gateway: RunningGateway, worker: ScriptedWorker, headers: dict[str, str]
) -> tuple[str, str]:
    """Whom the worker hears that a completion is for; and its id."""
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ASK, headers=headers)
    )
    job = await worker.take()
    await job.say("Hello")
    await job.end()
    assert (await answer).status_code == 200
    return job.command.user_id, job.command.completion_id


@pytest.mark.parametrize("token", [None, "not-needed", "sk-1234", "a.b.c"])
async def test_anyone_may_complete_whatever_their_client_sends_as_a_token(
    gateway: RunningGateway, worker: ScriptedWorker, token: str | None
) -> None:
    await ready(gateway)
    headers = bearer(token) if token else {}
    user, completion_id = await user_of(gateway, worker, headers)
    assert user == HERE
    assert "127.0.0.1" not in user
    assert (await gateway.http.get("/v1/models", headers=headers)).status_code == 200
    answer = await gateway.http.get(f"/v1/chat/completions/{completion_id}", headers=headers)
    assert answer.status_code == 200


async def test_a_token_that_is_meant_for_us_counts_and_a_wrong_one_is_refused(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    user, completion_id = await user_of(gateway, worker, bearer(key.secret))
    assert user == "alice"
    path = f"/v1/chat/completions/{completion_id}"
    assert (await gateway.http.get(path)).status_code == 404
    assert (await gateway.http.post(f"{path}/cancel")).status_code == 404
    wrong = await gateway.http.post("/v1/chat/completions", json=ASK, headers=bearer("pk-old"))
    assert wrong.status_code == 401


async def test_what_is_kept_needs_a_token(gateway: RunningGateway, client: Client) -> None:
    await ready(gateway)
    document = gateway.app.routes.openapi()
    kept = [
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith(("/api/", "/ai-chat/")) and not path.endswith(("/llm_server", "/status"))
    ]
    assert len(kept) > 40
    for method, path in kept:
        for headers in ({}, bearer("not-needed")):
            reply = await gateway.http.request(method, path, headers=headers)
            assert reply.status_code == 401, (method, path)
    async with SocketClient(gateway.url, "/ws/ai-chat/sessions/") as person:
        assert await person.closed() == 4401


async def test_an_anonymous_completion_goes_into_no_session(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    made = await gateway.http.post("/api/chat/sessions/", json={}, headers=bearer(key.secret))
    asked = {**ASK, "sessionId": made.json()["id"]}
    reply = await gateway.http.post("/v1/chat/completions", json=asked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert await worker.nothing_waits()


async def test_an_address_is_only_believed_from_a_trusted_proxy(
    gateway: RunningGateway, nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9"}
    await ready(gateway)
    assert (await user_of(gateway, worker, forged))[0] == HERE

    behind = quick_settings(nats_server.url, auth="open", trusted_proxies="127.0.0.1, 10.0.0.0/8")
    async with RunningGateway(behind) as proxied:
        await ready(proxied)
        user, completion_id = await user_of(proxied, worker, forged)
        assert user == anonymous_id("203.0.113.9")
        path = f"/v1/chat/completions/{completion_id}"
        assert (await proxied.http.get(path, headers=forged)).status_code == 200
        # Its own entry comes first in the header, and a client may write what it likes before it.
        chain = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.1.2.3"}
        assert (await proxied.http.get(path, headers=chain)).status_code == 404
        assert (await proxied.http.get(path)).status_code == 404
