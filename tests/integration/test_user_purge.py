"""Everything of one user goes, from every collection, stream and bucket, while everything runs."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from shared.contracts import streams, subjects
from shared.contracts.api_keys import KeyCopy, digest_of
from shared.contracts.dead_letters import REASON
from shared.contracts.ids import UserId
from shared.contracts.jetstream_api import bucket_key
from shared.contracts.user_purge import (
    PURGE_USER,
    USER_DATA,
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    UserDataReply,
)
from shared.errors import UserLeaving
from shared.messaging.buckets import is_gone
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import admits, bearer, new_key, ready
from tests.fakes.api.worker import Job, ScriptedWorker
from tests.fakes.history.running import (
    Stored,
    all_stored,
    answer,
    history_settings,
    running_history,
)
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

ANN = UserId("ann-the-tangerine")
BOB = UserId("bob-the-other")
MARK = "tangerine"
COLLECTIONS = (
    "sessions", "messages", "usage", "completions", "search_terms", "presets", "preferences",
    "api_keys", "model_settings", "purges",
)  # fmt: skip
STREAMS = (
    streams.REQUESTS, streams.CHUNKS, streams.EVENTS, streams.DEAD_LETTERS,
    *(streams.bucket_stream(bucket) for bucket in streams.BUCKETS),
)  # fmt: skip


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, auth="required", concurrent_requests=5)


@pytest.fixture
async def history(
    provisioned: JetStream, client: Client, nats_server: NatsServer, mongo: MongoServer
) -> AsyncGenerator[None]:
    """It trusts clocks more than in earnest, so that a purge settles within a test."""
    slack = timedelta(seconds=2)
    settings = history_settings(nats_server.url, mongo.url, sweep_slack=slack)
    async with running_history(settings, client):
        yield


async def found_in_streams(jetstream: JetStream, *needles: str) -> list[str]:
    """Where one of these stands: in a subject, a header or the bytes of a message."""
    found = []
    for stream in STREAMS:
        subject = ">"
        async for message in jetstream.replay(stream, subject):
            if is_gone(message.headers):
                continue
            whole = f"{message.subject} {dict(message.headers)} ".encode() + message.data
            if any(needle.encode() in whole for needle in needles):
                found.append(f"{stream} {message.subject}")
    return found


async def found_in_documents(mongo: MongoServer, *needles: str) -> list[str]:
    stored = Stored(mongo.url)
    found = [
        f"{collection} {document['_id']}"
        for collection in COLLECTIONS
        for document in await stored.documents(collection)
        if any(needle in str(document) for needle in needles)
    ]
    stored.close()
    return found


async def state_of(client: Client, user: UserId) -> UserDataReply:
    return await answer(client, USER_DATA, UserDataQuery(user_id=user))


async def purged(client: Client, user: UserId) -> bool:
    return (await state_of(client, user)).state is PurgeState.PURGED


async def swept(client: Client, user: UserId) -> bool:
    return (await state_of(client, user)).state is not PurgeState.REMOVING


class Person:
    """Somebody with a key and everything that a user can leave behind."""

    def __init__(self, gateway: RunningGateway, user: UserId, secret: str, said: str) -> None:
        self.http = gateway.http
        self.user, self.secret, self.said = user, secret, said
        self.head = bearer(secret)
        self.session = ""

    async def settle_in(self, worker: ScriptedWorker) -> None:
        post = self.http.post
        made = await post(
            "/api/chat/sessions/",
            json={"title": f"{self.said} title", "systemPrompt": f"{self.said} system"},
            headers=self.head,
        )
        self.session = made.json()["id"]
        job = await self.ask(worker, sessionId=self.session)
        await job.say(f"{self.said} answer")
        await job.end()
        assert (await self.reply).status_code == 200
        job = await self.ask(worker)
        await job.say(f"{self.said} stateless")
        await job.end()
        assert (await self.reply).status_code == 200
        preset = {"name": f"{self.said} preset", "systemPrompt": self.said, "public": True}
        assert (await post("/api/chat/presets/", json=preset, headers=self.head)).is_success
        wish = {"systemPrompt": f"{self.said} wish"}
        assert (
            await self.http.patch("/api/chat/preferences/", json=wish, headers=self.head)
        ).is_success
        assert (await post("/api/chat/tickets/", headers=self.head)).is_success

    async def ask(self, worker: ScriptedWorker, **more: str) -> Job:
        self.begin(**more)
        return await worker.take()

    def begin(self, **more: str) -> None:
        body = {"model": "demo", "messages": [{"role": "user", "content": self.said}], **more}
        self.reply = asyncio.create_task(
            self.http.post("/v1/chat/completions", json=body, headers=self.head)
        )


async def settled(
    gateway: RunningGateway, client: Client, worker: ScriptedWorker, user: UserId, said: str
) -> Person:
    key = await new_key(client, user, name=f"{said} laptop", concurrent=5)
    await eventually(lambda: admits(gateway, key.secret))
    person = Person(gateway, user, key.secret, said)
    await person.settle_in(worker)
    return person


async def bury(jetstream: JetStream, user: UserId, text: bytes) -> None:
    await jetstream.publish(
        subjects.dead_letters("history"),
        b'{"user_id":"' + user.encode() + b'","text":"' + text,
        headers={REASON: "it is cut off"},
    )


async def of_others(jetstream: JetStream, mongo: MongoServer) -> tuple[list[str], list[str]]:
    return (
        await found_in_streams(jetstream, BOB, "blueberry"),
        await found_in_documents(mongo, BOB, "blueberry"),
    )


async def test_after_a_purge_nothing_of_the_user_is_found_and_all_of_others(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    client: Client,
    mongo: MongoServer,
) -> None:
    await ready(gateway)
    ann = await settled(gateway, client, worker, ANN, MARK)
    await settled(gateway, client, worker, BOB, "blueberry")
    await bury(provisioned, ANN, MARK.encode())
    await bury(provisioned, BOB, b"blueberry")
    await eventually(lambda: all_stored(provisioned))
    before = await of_others(provisioned, mongo)
    kinds = {name.split(" ")[0] for name in await found_in_streams(provisioned, ANN, MARK)}
    assert kinds == {
        streams.CHUNKS, streams.EVENTS, streams.DEAD_LETTERS, "KV_keys", "KV_turns",
        "KV_idempotency",
    }  # fmt: skip
    kinds = {name.split(" ")[0] for name in await found_in_documents(mongo, ANN, MARK)}
    assert kinds == set(COLLECTIONS) - {"purges", "model_settings"}

    await answer(client, PURGE_USER, PurgeUser(user_id=ANN))
    await eventually(lambda: swept(client, ANN), within=20)
    assert (await state_of(client, ANN)).data == UserData()
    assert not await admits(gateway, ann.secret)
    await eventually(lambda: purged(client, ANN), within=20)

    assert await found_in_streams(provisioned, ANN, MARK) == []
    assert await found_in_documents(mongo, ANN, MARK) == []
    assert await of_others(provisioned, mongo) == before
    digest = digest_of(ann.secret)
    last = await provisioned.last("KV_keys", bucket_key(streams.KEYS, f"key.{digest}"))
    assert last is not None
    assert KeyCopy.from_bytes(last.data).revoked


async def test_what_runs_and_is_open_ends_and_a_late_end_brings_nothing_back(
    gateway: RunningGateway,
    other: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    client: Client,
    mongo: MongoServer,
) -> None:
    await ready(gateway, other)
    ann = await settled(gateway, client, worker, ANN, MARK)
    running = await ann.ask(worker, sessionId=ann.session)
    await running.say(f"{MARK} begun")
    async with SocketClient(other.url, f"/ws/ai-chat/sessions/?token={ann.secret}") as socket:
        await socket.next("connection_established")

        await answer(client, PURGE_USER, PurgeUser(user_id=ANN))

        assert await socket.closed() == 4401
    await asyncio.wait_for(running.cancelled.wait(), 5)
    assert (await asyncio.wait_for(ann.reply, 10)).status_code == 401
    # Its worker does not hear of it in time, and says what it has.
    await running.say(f"{MARK} late frame")
    await eventually(lambda: purged(client, ANN), within=20)
    assert await found_in_streams(provisioned, ANN, MARK) == []

    end = running.completed()
    await provisioned.publish_once(subjects.completed(end.completion_id), end.to_bytes())
    await eventually(lambda: all_stored(provisioned))
    await eventually(lambda: nothing_of(provisioned, ANN, MARK))
    assert await found_in_documents(mongo, ANN, MARK) == []


async def nothing_of(jetstream: JetStream, *needles: str) -> bool:
    return await found_in_streams(jetstream, *needles) == []


async def test_a_request_that_nobody_withdraws_goes_with_the_second_pass(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    client: Client,
) -> None:
    await ready(gateway)
    ann = await settled(gateway, client, worker, ANN, MARK)
    bob = await settled(gateway, client, worker, BOB, "blueberry")
    subject = subjects.requests("demo", "a")
    commands = []
    for person in (ann, bob):
        job = await person.ask(worker)
        await job.end()
        await person.reply
        commands.append(job.command.to_bytes())
    for command in commands:
        # As if its gateway had died with it in the queue: it hears of no purge.
        await provisioned.publish(subject, command)

    await answer(client, PURGE_USER, PurgeUser(user_id=ANN))
    await eventually(lambda: purged(client, ANN), within=20)

    assert await found_in_streams(provisioned, ANN, MARK) == []
    assert f"{streams.REQUESTS} {subject}" in await found_in_streams(provisioned, BOB)


async def test_it_goes_on_after_a_crash_in_the_middle(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    client: Client,
    nats_server: NatsServer,
    mongo: MongoServer,
) -> None:
    await ready(gateway)
    await settled(gateway, client, worker, ANN, MARK)
    await eventually(lambda: all_stored(provisioned))
    await answer(client, PURGE_USER, PurgeUser(user_id=ANN))
    # The database goes in the middle of the first pass, or soon after.
    mongo.kill()
    mongo.start()
    async with running_history(
        history_settings(nats_server.url, mongo.url, sweep_slack=timedelta(seconds=2)), client
    ):
        await eventually(lambda: purged(client, ANN), within=40)
    assert await found_in_streams(provisioned, ANN, MARK) == []
    assert await found_in_documents(mongo, ANN, MARK) == []


async def test_nobody_comes_in_by_the_name_until_it_is_over_and_then_as_a_new_user(
    gateway: RunningGateway, worker: ScriptedWorker, client: Client, mongo: MongoServer
) -> None:
    await ready(gateway)
    await settled(gateway, client, worker, ANN, MARK)
    boss = await new_key(client, "boss", admin=True)
    await eventually(lambda: admits(gateway, boss.secret))
    await answer(client, PURGE_USER, PurgeUser(user_id=ANN))
    # A key that would be shown and then destroyed.
    with pytest.raises(UserLeaving, match="is being removed"):
        await new_key(client, ANN)
    refused = await gateway.http.post(
        "/api/chat/keys/", json={"user": ANN}, headers=bearer(boss.secret)
    )
    assert refused.status_code == 409
    error = refused.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == ("user_leaving", "user")
    await eventually(lambda: purged(client, ANN), within=20)

    again = await new_key(client, ANN)
    await eventually(lambda: admits(gateway, again.secret))
    person = Person(gateway, ANN, again.secret, "afresh")
    await person.settle_in(worker)
    listed = await gateway.http.get("/api/chat/sessions/", headers=person.head)
    assert [it["title"] for it in listed.json()["sessions"]] == ["afresh title"]
    assert MARK not in json.dumps(listed.json()).replace(ANN, "")
    counted = (await state_of(client, ANN)).data
    assert counted is not None
    assert (counted.sessions, counted.usage, counted.messages) == (1, 2, 2)


async def test_administrators_ask_for_it_over_http_and_nobody_else(
    gateway: RunningGateway, worker: ScriptedWorker, client: Client, mongo: MongoServer
) -> None:
    await ready(gateway)
    ann = await settled(gateway, client, worker, ANN, MARK)
    boss = await new_key(client, "boss", admin=True)
    await eventually(lambda: admits(gateway, boss.secret))
    path = f"/ai-chat/api/user_data/?user={ANN}"
    for method in ("GET", "DELETE"):
        assert (await gateway.http.request(method, path, headers=ann.head)).status_code == 403
    counted = await gateway.http.get(path, headers=bearer(boss.secret))
    assert (counted.json()["state"], counted.json()["data"]["sessions"]) == ("none", 1)

    begun = await gateway.http.delete(path, headers=bearer(boss.secret))
    assert begun.status_code == 202
    assert begun.json()["settles_at"]
    assert begun.json()["data"] is None
    await eventually(lambda: purged(client, ANN), within=20)
    over = await gateway.http.get(path, headers=bearer(boss.secret))
    assert over.json()["found"] == counted.json()["data"]
    assert set(over.json()["data"].values()) == {0}
    assert await found_in_documents(mongo, ANN, MARK) == []
