"""Tickets and an identity provider's tokens at real gateways."""

import asyncio
import io
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
import websockets
from nats.aio.client import Client

from services.api.oidc_settings import OidcSettings
from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import ASK, admin_of, admits, bearer, new_key, ready
from tests.fakes.api.worker import ScriptedWorker, text_of
from tests.support.identity_provider import AUDIENCE, IdentityProvider, SigningKey
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

KEY = SigningKey("first", "ES256")
LIST = "/ws/ai-chat/sessions/"


@pytest.fixture
async def provider() -> AsyncGenerator[IdentityProvider]:
    async with IdentityProvider() as running:
        running.keys = [KEY.public()]
        yield running


@pytest.fixture
def gateway_settings(nats_server: NatsServer, provider: IdentityProvider) -> GatewaySettings:
    oidc = OidcSettings(issuer=provider.issuer, audience=AUDIENCE, roles_claim="groups")
    return quick_settings(nats_server.url, auth="required", oidc=oidc)


async def ticket(gateway: RunningGateway, token: str, face: str = "/api/chat") -> str:
    """As a page gets one."""
    reply = await gateway.http.post(f"{face}/tickets/", headers=bearer(token))
    assert reply.status_code == 201, reply.text
    return str(reply.json()["ticket"])


async def test_a_token_of_the_provider_opens_its_users_things(
    gateway: RunningGateway, other: RunningGateway, client: Client, provider: IdentityProvider
) -> None:
    await ready(gateway, other)
    token = KEY.sign(provider.claims())
    made = await gateway.http.post("/api/chat/sessions/", json={}, headers=bearer(token))
    session = made.json()["id"]
    # The same user, by a key.
    key = await new_key(client, "alice")
    await eventually(lambda: admits(other, key.secret))
    path = f"/api/chat/sessions/{session}/"
    assert (await other.http.get(path, headers=bearer(key.secret))).status_code == 200
    bob = KEY.sign(provider.claims(sub="bob", groups=["admin"]))
    assert (await other.http.get(path, headers=bearer(bob))).status_code == 404
    assert (await other.http.get("/api/chat/keys/", headers=bearer(bob))).status_code == 200
    assert (await other.http.get("/api/chat/keys/", headers=bearer(token))).status_code == 403
    async with SocketClient(gateway.url, f"{LIST}?token={token}") as person:
        await person.next("connection_established")


async def test_a_bad_token_is_401_and_an_unreachable_provider_503(
    gateway: RunningGateway, other: RunningGateway, provider: IdentityProvider
) -> None:
    await ready(gateway, other)
    stranger = SigningKey("first", "ES256")
    bad = await gateway.http.get("/v1/models", headers=bearer(stranger.sign(provider.claims())))
    assert (bad.status_code, bad.json()["error"]["code"]) == (401, "invalid_api_key")
    provider.stop()
    good = bearer(KEY.sign(provider.claims()))
    assert (await gateway.http.get("/v1/models", headers=good)).status_code == 200
    away = await other.http.get("/v1/models", headers=good)
    assert (away.status_code, away.json()["error"]["code"]) == (503, "identity_unavailable")


@pytest.mark.slow
async def test_a_socket_ends_with_its_token(
    gateway: RunningGateway, provider: IdentityProvider
) -> None:
    await ready(gateway)
    claims = provider.claims()
    # Its last seconds, in which the leeway of 30 s still lets it in: enough for a busy machine.
    token = KEY.sign({**claims, "exp": claims["iat"] - 23})
    async with SocketClient(gateway.url, f"{LIST}?token={token}") as person:
        await person.next("connection_established")
        assert await person.closed() == 4401


@pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])
async def test_a_ticket_opens_one_socket_at_any_gateway(
    gateway: RunningGateway, other: RunningGateway, client: Client, face: str
) -> None:
    await ready(gateway, other)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await eventually(lambda: admits(other, key.secret))
    once = await ticket(gateway, key.secret, face)
    async with SocketClient(other.url, f"{LIST}?ticket={once}") as person:
        await person.next("connection_established")
        for again in (gateway, other):
            async with SocketClient(again.url, f"{LIST}?ticket={once}") as late:
                assert await late.closed() == 4401
        await admin_of(client).revoke(key.key.id)
        assert await person.closed() == 4401


async def test_of_all_who_come_with_a_ticket_one_gets_in(
    gateway: RunningGateway, other: RunningGateway, client: Client
) -> None:
    await ready(gateway, other)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await eventually(lambda: admits(other, key.secret))
    once = await ticket(gateway, key.secret)

    async def try_it(here: RunningGateway) -> bool:
        async with SocketClient(here.url, f"{LIST}?ticket={once}") as person:
            try:
                return bool(await person.next("connection_established"))
            except websockets.ConnectionClosed:
                return False

    got_in = await asyncio.gather(*(try_it((gateway, other)[n % 2]) for n in range(10)))
    assert got_in.count(True) == 1


async def test_a_ticket_reads_a_stream_and_opens_nothing_else(
    gateway: RunningGateway, other: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway, other)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await eventually(lambda: admits(other, key.secret))
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ASK, headers=bearer(key.secret))
    )
    job = await worker.take()
    await job.say("Hello")
    await job.end()
    assert (await answer).status_code == 200
    once = await ticket(gateway, key.secret)
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", f"/v1/chat/completions/{job.command.completion_id}/cancel"),
        ("GET", "/api/chat/sessions/"),
        ("POST", "/api/chat/tickets/"),
    ):
        reply = await other.http.request(method, f"{path}?ticket={once}&token={once}")
        assert reply.status_code == 401, path
    path = f"/v1/chat/completions/{job.command.completion_id}?stream=true&ticket={once}"
    read = await other.http.get(path)
    assert read.status_code == 200
    assert text_of(read.text) == "Hello"
    assert (await other.http.get(path)).status_code == 401


async def test_a_ticket_of_a_revoked_key_is_worth_nothing(
    gateway: RunningGateway, client: Client
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    once = await ticket(gateway, key.secret)
    await admin_of(client).revoke(key.key.id)

    async def refused() -> bool:
        return not await admits(gateway, key.secret)

    await eventually(refused)
    async with SocketClient(gateway.url, f"{LIST}?ticket={once}") as person:
        assert await person.closed() == 4401


@pytest.mark.parametrize("made_up", ["", "x", "A" * 43, "../*", "A" * 50_000, "%00", "a.b"])
async def test_a_ticket_that_nobody_made_opens_nothing(
    gateway: RunningGateway, made_up: str
) -> None:
    await ready(gateway)
    reply = await gateway.http.get(f"/v1/chat/completions/chatcmpl-{'0' * 32}?ticket={made_up}")
    assert reply.status_code in {401, 431} | ({414} if len(made_up) > 40_000 else set())


async def test_nothing_that_is_logged_has_a_token_or_a_ticket(
    gateway: RunningGateway,
    client: Client,
    provider: IdentityProvider,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    secrets = [key.secret, KEY.sign(provider.claims()), KEY.sign(provider.claims(aud="x"))]
    secrets.append(await ticket(gateway, key.secret))
    replies: list[Any] = []
    for secret in secrets:
        for name in ("token", "ticket", "api_key"):
            async with SocketClient(gateway.url, f"{LIST}?{name}={secret}") as person:
                with suppress(websockets.ConnectionClosed):
                    await person.next("connection_established")
            path = f"/v1/chat/completions/chatcmpl-{'0' * 32}?{name}={secret}"
            replies.append(await gateway.http.get(path))
        replies.append(await gateway.http.get("/nowhere", headers=bearer(secret)))
        replies.append(await gateway.http.get("/v1/models/x", headers=bearer(f"{secret}x")))
    logging.getLogger().removeHandler(handler)
    logged = text.getvalue() + "".join(capsys.readouterr())
    assert "request.refuse" in logged
    for secret in secrets:
        assert secret[-20:] not in logged
        assert all(secret[-20:] not in reply.text for reply in replies)
