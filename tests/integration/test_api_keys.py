"""API keys over real gateways, a real history service and a real broker."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from services.api.access.identity import HEALTH
from services.api.settings import Settings as GatewaySettings
from shared.clock import utc_now
from shared.contracts import streams
from shared.contracts.api_keys import digest_of
from shared.errors import InvalidRequest, KeyNotFound
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import ASK, admin_of, admits, bearer, new_key, ready
from tests.fakes.api.worker import ScriptedWorker, announce
from tests.fakes.history.running import Stored
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually
from tests.support.wiping import wipe

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]


async def data_of(reply: httpx.Response) -> AsyncGenerator[Any]:
    """Its events, one by one, and the last word."""
    assert reply.status_code == 200
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            text = line.removeprefix("data: ")
            yield text if text == "[DONE]" else json.loads(text)


FACES = ("/api/chat", "/ai-chat/api")


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, auth="required")


async def test_without_a_token_every_route_but_health_is_refused(gateway: RunningGateway) -> None:
    await ready(gateway)
    document = gateway.app.routes.openapi()
    asked = 0
    for path, operations in document["paths"].items():
        for method in operations:
            reply = await gateway.http.request(method, path)
            if path in HEALTH:
                assert reply.status_code in {200, 503}, path
                continue
            asked += 1
            assert reply.status_code == 401, (method, path)
            assert reply.headers["www-authenticate"] == 'Bearer realm="parley"'
            error = reply.json()["error"]
            assert error["type"] == "authentication_error"
            assert error["code"] == "invalid_api_key"
            assert error["param"] is None
    assert asked > 40
    for path in ("/openapi.json", "/nowhere", "/", "/v1/", "/healthz/../v1/models"):
        assert (await gateway.http.get(path)).status_code == 401, path


@pytest.mark.parametrize(
    "headers",
    [
        bearer("pk-" + "A" * 43),
        bearer("pk-short"),
        bearer("a.b.c"),
        bearer("sk-1234"),
        bearer("pk-" + "é" * 43),
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "nonsense"},
    ],
)
async def test_a_wrong_token_is_refused_and_not_repeated(
    gateway: RunningGateway, headers: dict[str, str]
) -> None:
    await ready(gateway)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    reply = await gateway.http.get("/v1/models", headers=raw)

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="parley", error="invalid_token"'
    token = headers["Authorization"].partition(" ")[2]
    assert not token or token not in reply.text


async def test_two_tokens_are_one_too_many(gateway: RunningGateway, client: Client) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    twice = [("Authorization", f"Bearer {key.secret}"), ("Authorization", "Bearer x")]
    assert (await gateway.http.get("/v1/models", headers=twice)).status_code == 401


async def test_a_key_opens_its_users_things_on_every_gateway_and_nobody_elses(
    gateway: RunningGateway, other: RunningGateway, client: Client
) -> None:
    await ready(gateway, other)
    alice, bob = await new_key(client, "alice"), await new_key(client, "bob")
    await eventually(lambda: admits(other, bob.secret))
    await eventually(lambda: admits(gateway, alice.secret))
    made = await gateway.http.post(
        "/api/chat/sessions/", json={"title": "Hers"}, headers=bearer(alice.secret)
    )
    preset = await gateway.http.post(
        "/api/chat/presets/", json={"name": "Hers"}, headers=bearer(alice.secret)
    )
    session, preset_id = made.json()["id"], preset.json()["id"]
    token_form = {"Authorization": f"Token {alice.secret}"}
    assert (await other.http.get(f"/ai-chat/api/sessions/{session}/", headers=token_form)).json()[
        "title"
    ] == "Hers"

    for method, path, body in (
        ("GET", f"/api/chat/sessions/{session}/", None),
        ("PATCH", f"/api/chat/sessions/{session}/", {"title": "His"}),
        ("DELETE", f"/api/chat/sessions/{session}/", None),
        ("GET", f"/api/chat/sessions/{session}/export/", None),
        ("POST", f"/api/chat/sessions/{session}/send_message/", {"message": "x", "model": "demo"}),
        ("GET", f"/api/chat/presets/{preset_id}/", None),
        ("DELETE", f"/api/chat/presets/{preset_id}/", None),
        ("POST", "/v1/chat/completions", {**ASK, "sessionId": session}),
    ):
        reply = await other.http.request(method, path, json=body, headers=bearer(bob.secret))
        assert reply.status_code == 404, (method, path, reply.text)
    listed = await other.http.get("/api/chat/sessions/?search=Hers", headers=bearer(bob.secret))
    assert listed.json()["sessions"] == []
    async with SocketClient(
        other.url, f"/ws/ai-chat/session/{session}/?token={bob.secret}"
    ) as person:
        assert await person.closed() == 4404


async def test_another_users_completion_is_neither_read_nor_followed_nor_cancelled(
    gateway: RunningGateway, other: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway, other)
    alice, bob = await new_key(client, "alice"), await new_key(client, "bob")
    await eventually(lambda: admits(other, bob.secret))
    await eventually(lambda: admits(gateway, alice.secret))
    answer = asyncio.create_task(
        gateway.http.post(
            "/v1/chat/completions", json={**ASK, "stream": True}, headers=bearer(alice.secret)
        )
    )
    job = await worker.take()
    assert job.command.user_id == "alice"
    await job.say("Secret")
    path = f"/v1/chat/completions/{job.command.completion_id}"
    his = bearer(bob.secret)
    assert (await other.http.get(path, headers=his)).status_code == 404
    assert (await other.http.get(f"{path}?stream=true", headers=his)).status_code == 404
    assert (await other.http.post(f"{path}/cancel", headers=his)).status_code == 404
    assert (await other.http.get(path, headers=bearer(alice.secret))).status_code == 200
    await job.end()
    assert (await answer).status_code == 200


async def test_a_revoked_key_is_refused_everywhere_within_a_second(
    gateway: RunningGateway, other: RunningGateway, client: Client
) -> None:
    await ready(gateway, other)
    key = await new_key(client, "alice")
    stays = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await eventually(lambda: admits(other, key.secret))

    revoked = await admin_of(client).revoke(key.key.id)
    began = time.monotonic()

    async def refused() -> bool:
        return not await admits(gateway, key.secret) and not await admits(other, key.secret)

    await eventually(refused)
    assert time.monotonic() - began < 1
    assert revoked.revoked_at is not None
    assert await admits(gateway, stays.secret)
    again = await admin_of(client).revoke(key.key.id)
    assert again.revoked_at == revoked.revoked_at
    with pytest.raises(KeyNotFound):
        await admin_of(client).revoke("nobody's")


@pytest.mark.parametrize("resumable", [False, True])
async def test_the_streams_of_a_revoked_key_end_with_an_error_and_its_completions_stop(
    gateway: RunningGateway,
    other: RunningGateway,
    client: Client,
    worker: ScriptedWorker,
    resumable: bool,
) -> None:
    await ready(gateway, other)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await eventually(lambda: admits(other, key.secret))
    headers = bearer(key.secret) | ({"X-Stream-Resume": "true"} if resumable else {})
    asked = {**ASK, "stream": True}

    asking = gateway.http.stream("POST", "/v1/chat/completions", json=asked, headers=headers)
    opening = asyncio.create_task(asking.__aenter__())
    job = await worker.take()
    await job.say("Hello")
    stream = data_of(await opening)
    path = f"/v1/chat/completions/{job.command.completion_id}?stream=true"
    async with other.http.stream("GET", path, headers=bearer(key.secret)) as followed:
        follower = data_of(followed)
        for reader in (stream, follower):
            assert (await anext(reader))["choices"][0]["delta"]["content"] == "Hello"

        await admin_of(client).revoke(key.key.id)

        async with asyncio.timeout(2):
            for reader in (stream, follower):
                error = await anext(reader)
                assert error["error"]["code"] == "invalid_api_key"
                assert key.secret not in str(error)
                assert await anext(reader) == "[DONE]"
    await asking.__aexit__(None, None, None)
    await job.stopped(within=2)


async def test_a_whole_answer_of_a_revoked_key_is_401(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ASK, headers=bearer(key.secret))
    )
    job = await worker.take()
    await job.say("Hello")
    await admin_of(client).revoke(key.key.id)

    reply = await asyncio.wait_for(answer, 2)
    assert reply.status_code == 401
    assert reply.headers["x-should-retry"] == "false"
    await job.stopped(within=2)


async def test_sockets_of_a_revoked_key_close_with_4401_and_their_turn_stops(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    made = await gateway.http.post(
        "/api/chat/sessions/", json={"model": "demo"}, headers=bearer(key.secret)
    )
    session = f"/ws/ai-chat/session/{made.json()['id']}/"
    async with (
        SocketClient(gateway.url, f"{session}?token={key.secret}") as speaker,
        SocketClient(
            gateway.url, "/ws/ai-chat/sessions/", Authorization=f"Token {key.secret}"
        ) as watcher,
    ):
        await speaker.next("connection_established")
        await watcher.next("connection_established")
        await speaker.say({"type": "send_message", "message": "Hello"})
        job = await worker.take()
        await job.say("Hello")
        await speaker.next("ai_message_chunk")
        began = time.monotonic()
        await admin_of(client).revoke(key.key.id)
        assert [await speaker.closed(), await watcher.closed()] == [4401, 4401]
        assert time.monotonic() - began < 2
        await job.stopped(within=2)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=", {}),
        ("?token=pk-wrong", {}),
        ("?token=a.b.c", {}),
        ("", {"Authorization": "Token pk-wrong"}),
        ("", {"Authorization": "Basic YTpi"}),
    ],
)
async def test_a_socket_without_a_valid_token_closes_with_4401(
    gateway: RunningGateway, query: str, headers: dict[str, str]
) -> None:
    await ready(gateway)
    for path in (
        "/ws/ai-chat/sessions/",
        "/ws/ai-chat/session/00000000-0000-4000-8000-000000000000/",
    ):
        async with SocketClient(gateway.url, path + query, **headers) as person:
            assert await person.closed() == 4401
            assert person.got == []
            assert person.close_reason == "The token is not valid, or no longer."


async def test_a_key_expires_at_its_moment_and_takes_its_sockets_with_it(
    gateway: RunningGateway, client: Client
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice", expires_at=utc_now() + timedelta(seconds=1.5))
    assert key.key.expires_at is not None
    await eventually(lambda: admits(gateway, key.secret))
    async with SocketClient(gateway.url, f"/ws/ai-chat/sessions/?token={key.secret}") as person:
        await person.next("connection_established")
        assert await person.closed() == 4401
        assert timedelta(0) <= utc_now() - key.key.expires_at < timedelta(seconds=1)
    assert not await admits(gateway, key.secret)


async def test_a_key_that_has_expired_already_is_not_made(client: Client) -> None:
    with pytest.raises(InvalidRequest):
        await new_key(client, "alice", expires_at=utc_now())
    with pytest.raises(InvalidRequest):
        await new_key(client, "anon-0123")


async def test_models_beyond_a_keys_patterns_do_not_exist_for_it(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker
) -> None:
    await ready(gateway)
    mine = await new_key(client, "alice", models=["llama*"])
    all_of_them = await new_key(client, "alice", models=["llama*", "de?o"])
    await eventually(lambda: admits(gateway, mine.secret))
    await eventually(lambda: admits(gateway, all_of_them.secret))
    head = bearer(mine.secret)

    unknown = await gateway.http.post(
        "/v1/chat/completions", json={**ASK, "model": "demon"}, headers=bearer(all_of_them.secret)
    )
    for model in ("demo", "demo:latest"):
        reply = await gateway.http.post(
            "/v1/chat/completions", json={**ASK, "model": model}, headers=head
        )
        assert reply.status_code == 404
        said = reply.json()["error"] | {"message": ""}
        assert said == unknown.json()["error"] | {"message": ""}
    assert (await gateway.http.get("/v1/models", headers=head)).json()["data"] == []
    assert (await gateway.http.get("/v1/models/demo", headers=head)).status_code == 404
    for face in FACES:
        listed = (await gateway.http.get(f"{face}/models/?hidden=true", headers=head)).json()
        assert listed["models"] == []
        assert "demo" not in json.dumps(listed)
        for health in ("/health/llm_server/", "/status/"):
            assert "demo" not in (await gateway.http.get(face + health, headers=head)).text
    assert "demo" not in (await gateway.http.get("/v1/health", headers=head)).text

    made = await gateway.http.post("/api/chat/sessions/", json={"model": "demo"}, headers=head)
    session = made.json()["id"]
    turn = await gateway.http.post(
        f"/api/chat/sessions/{session}/send_message/", json={"message": "x"}, headers=head
    )
    assert (turn.status_code, turn.json()["error"]["code"]) == (404, "model_not_found")
    async with SocketClient(
        gateway.url, f"/ws/ai-chat/session/{session}/?token={mine.secret}"
    ) as person:
        await person.next("connection_established")
        await person.say({"type": "send_message", "message": "x"})
        assert (await person.next("error"))["code"] == "model_not_found"
    assert await worker.nothing_waits()
    models = await gateway.http.get("/v1/models", headers=bearer(all_of_them.secret))
    assert [model["id"] for model in models.json()["data"]] == ["demo"]


async def test_administrators_make_list_and_revoke_keys_on_both_faces(
    gateway: RunningGateway, other: RunningGateway, client: Client
) -> None:
    await ready(gateway, other)
    boss = await new_key(client, "boss", admin=True)
    await eventually(lambda: admits(gateway, boss.secret))
    await eventually(lambda: admits(other, boss.secret))
    head = bearer(boss.secret)
    wanted: dict[str, Any] = {
        "user": "carol", "name": "laptop", "models": ["llama*"], "requestsPerMinute": 60,
        "concurrent": 5, "expiresAt": "2999-01-01T00:00:00.000Z",
    }  # fmt: skip
    made = await gateway.http.post("/api/chat/keys/", json=wanted, headers=head)
    assert made.status_code == 201
    body = made.json()
    secret = body.pop("key")
    assert {name: body[name] for name in wanted} == wanted
    assert (body["admin"], body["revokedAt"]) == (False, None)
    assert secret.startswith(body["prefix"])
    await eventually(lambda: admits(other, secret))

    listed = await other.http.get("/ai-chat/api/keys/?user=carol", headers=head)
    (shown,) = listed.json()["keys"]
    assert shown["requests_per_minute"] == 60
    assert secret not in listed.text
    everyone = await other.http.get("/api/chat/keys/?limit=1", headers=head)
    (first,), cursor = everyone.json()["keys"], everyone.json()["nextCursor"]
    rest = await other.http.get(f"/api/chat/keys/?limit=1&cursor={cursor}", headers=head)
    assert [first["user"], rest.json()["keys"][0]["user"]] == ["boss", "carol"]
    assert rest.json()["nextCursor"] is None

    gone = await other.http.delete(f"/ai-chat/api/keys/{shown['id']}/", headers=head)
    assert gone.status_code == 204

    async def refused() -> bool:
        return not await admits(gateway, secret)

    await eventually(refused, within=1)
    missing = await other.http.delete(f"/api/chat/keys/{'0' * 8}/", headers=head)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "key_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": ""},
        {"user": "anon-1"},
        {"user": "a\u0000b"},
        {"user": "a", "models": []},
        {"user": "a", "requestsPerMinute": -1},
        {"user": "a", "expiresAt": "2001-01-01T00:00:00Z"},
        {"user": "a", "expiresAt": "2999-01-01T00:00:00"},
        {"user": "a", "admin": "yes"},
    ],
)
async def test_a_key_of_no_use_is_refused(
    gateway: RunningGateway, client: Client, body: dict[str, Any]
) -> None:
    await ready(gateway)
    boss = await new_key(client, "boss", admin=True)
    await eventually(lambda: admits(gateway, boss.secret))
    reply = await gateway.http.post("/api/chat/keys/", json=body, headers=bearer(boss.secret))
    assert reply.status_code == 400, reply.text


async def test_who_is_no_administrator_may_not_touch_what_holds_for_all(
    gateway: RunningGateway, client: Client
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    for face in FACES:
        for method, path in (
            ("GET", "/keys/"),
            ("POST", "/keys/"),
            ("DELETE", f"/keys/{key.key.id}/"),
            ("PUT", "/models/default/"),
            ("PUT", "/models/demo/settings/"),
        ):
            body = {"user": "alice", "admin": True} if method != "GET" else None
            reply = await gateway.http.request(
                method, face + path, json=body, headers=bearer(key.secret)
            )
            assert reply.status_code == 403, (method, path)
            assert reply.json()["error"]["type"] == "permission_error"
    assert await admits(gateway, key.secret)


async def test_strangers_learn_states_but_neither_names_nor_counts(
    gateway: RunningGateway, client: Client, provisioned: JetStream
) -> None:
    await ready(gateway)
    key = await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    for path in sorted(HEALTH - {"/healthz", "/readyz"}):
        # The worker of these tests says once that it lives, which counts for seconds.
        await announce(provisioned)
        known = await gateway.http.get(path, headers=bearer(key.secret))
        assert "demo" in known.text or "w1" in known.text
        for headers in ({}, bearer("pk-wrong")):
            strange = await gateway.http.get(path, headers=headers)
            assert strange.status_code == known.status_code
            assert strange.json()["status"] == known.json()["status"]
            assert not any(name in strange.text for name in ("demo", "w1", "http", "llama"))
            assert not any(character.isdigit() for character in strange.text)


async def test_keys_come_back_after_the_broker_lost_everything(
    gateway: RunningGateway,
    client: Client,
    nats_server: NatsServer,
    provisioned: JetStream,
    tmp_path: Path,
) -> None:
    await ready(gateway)
    key, gone = await new_key(client, "alice"), await new_key(client, "alice")
    await eventually(lambda: admits(gateway, key.secret))
    await admin_of(client).revoke(gone.key.id)
    statuses: set[int] = set()
    over = asyncio.Event()

    async def ask_all_the_time() -> None:
        while not over.is_set():
            reply = await gateway.http.get("/v1/models", headers=bearer(key.secret))
            statuses.add(reply.status_code)
            bad = await gateway.http.get("/v1/models", headers=bearer(gone.secret))
            assert bad.status_code in {401, 503}

    asking = asyncio.create_task(ask_all_the_time())
    await wipe(nats_server, provisioned)
    await announce(provisioned)

    async def known_again() -> bool:
        last = await provisioned.last(
            streams.bucket_stream(streams.KEYS), f"$KV.keys.key.{digest_of(key.secret)}"
        )
        ready_now = (await gateway.http.get("/readyz")).status_code == 200
        return last is not None and ready_now

    await eventually(known_again, within=20)
    assert await admits(gateway, key.secret)
    assert not await admits(gateway, gone.secret)
    over.set()
    await asking
    # Meanwhile nobody was told that a good key is a bad one.
    assert statuses == {200, 503}


async def test_the_database_keeps_no_key(
    gateway: RunningGateway, client: Client, mongo: MongoServer
) -> None:
    key = await new_key(client, "alice", name="laptop")
    stored = Stored(mongo.url)
    (document,) = await stored.documents("api_keys")
    stored.close()
    assert document["digest"] == digest_of(key.secret)
    assert key.secret not in str(document)
    assert len(key.secret) == len("pk-") + 43
