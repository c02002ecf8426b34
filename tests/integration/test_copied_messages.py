"""The broker repeats what a stream holds wherever its asker says: nobody obeys such a copy."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from deploy.provisioning.provisioner import Provisioner
from services.api.access.departures import Departures
from services.api.access.key_ring import KeyRing
from services.api.access.refusals import KeysNotLoaded, NotAuthenticated
from services.api.adapters.nats_key_ring import NatsKeyFeed
from services.api.adapters.nats_live import NatsLive
from services.api.adapters.nats_tickets import NatsTickets
from services.api.ports.tickets import TicketEntry
from services.history.adapters.nats_key_copies import NatsKeyCopies
from services.history.key_copying import KeyCopying
from shared.clock import utc_now
from shared.contracts import session_questions as asked
from shared.contracts import streams, subjects
from shared.contracts.api_keys import ADMIN, COMPLETE, KeyCopy, digest_of, new_key_id, new_secret
from shared.contracts.history import CreateSession, DeleteSession, GetSession
from shared.contracts.identities import Identity
from shared.contracts.ids import UserId, new_completion_id, new_session_id
from shared.contracts.jetstream_api import API, consumer_next, direct_get
from shared.contracts.live import LiveEvent
from shared.contracts.streams import Capacity
from shared.contracts.user_purge import (
    PURGE_USER,
    UNDER_WAY,
    USER_DATA,
    WORD,
    PurgeState,
    UserDataQuery,
    user_digest,
)
from shared.messaging.copies import is_copy
from shared.messaging.jetstream import JetStream
from tests.fakes.api.ports import FakeClock
from tests.fakes.history.conversation import Turn
from tests.fakes.history.memory_keys import MemoryKeyStore
from tests.fakes.history.running import Stored, all_stored, answer
from tests.fakes.inference_worker.requests import request
from tests.fakes.inference_worker.world import DEMO, World, a_world
from tests.support.mongo_server import MongoServer
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.raw_worker import publish_raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

USER = UserId("alice")


@pytest.fixture
async def traitor(nats_server: NatsServer) -> AsyncGenerator[Client]:
    """A worker that somebody has broken into."""
    client = await connect(nats_server.url, Identity.WORKER)
    yield client
    await client.close()


async def smuggle(traitor: Client, words: bytes, target: str) -> None:
    """Write what a worker may write, and have the broker say it where a worker may not."""
    hidden = subjects.chunks("gw", new_completion_id())
    await JetStream(traitor).publish(hidden, words)
    await traitor.publish(API + direct_get(streams.CHUNKS, hidden), reply=target)
    await traitor.flush()


async def test_history_takes_no_command_that_is_a_copy(
    history: None, client: Client, traitor: Client
) -> None:
    session = new_session_id()
    await answer(client, asked.CREATE_SESSION, CreateSession(user_id=USER, session_id=session))
    command = DeleteSession(user_id=USER, session_id=session).to_bytes()

    with capture_logs() as said:
        await smuggle(traitor, command, subjects.history(asked.DELETE_SESSION.name))
        await eventually(lambda: "copy_refused" in [line["event"] for line in said])

    found = await answer(client, asked.GET_SESSION, GetSession(user_id=USER, session_id=session))
    assert found.session is not None


async def test_history_takes_no_command_that_is_a_copy_behind_a_broken_head(
    history: None, client: Client, nats_server: NatsServer, traitor: Client
) -> None:
    session = new_session_id()
    await answer(client, asked.CREATE_SESSION, CreateSession(user_id=USER, session_id=session))
    command = DeleteSession(user_id=USER, session_id=session).to_bytes()
    hidden = subjects.chunks("gw", new_completion_id())
    # No line ends it: the broker cuts its last two bytes off and goes on in the same line.
    await publish_raw(nats_server, hidden.encode(), b"NATS/1.0\r\nA: bXX", command)
    heard = await client.subscribe("chat.history.delete_session")
    await client.flush()

    with capture_logs() as said:
        target = subjects.history(asked.DELETE_SESSION.name)
        await traitor.publish(API + direct_get(streams.CHUNKS, hidden), reply=target)
        copied = await heard.next_msg(timeout=5)
        await eventually(lambda: "copy_refused" in [line["event"] for line in said])

    assert (copied.data, "Nats-Stream" in (copied.headers or {})) == (command, False)
    assert is_copy(copied.headers)
    found = await answer(client, asked.GET_SESSION, GetSession(user_id=USER, session_id=session))
    assert found.session is not None


async def test_history_takes_no_request_out_of_the_queue_for_a_command(
    history: None, client: Client, nats_server: NatsServer, traitor: Client
) -> None:
    # It names its user, and so would do for the removal of everything of that user.
    provisioner = await connect(nats_server.url, Identity.PROVISIONER)
    await Provisioner(JetStream(provisioner), Capacity()).provision_model(DEMO)
    await provisioner.close()
    queued = request("Hello", model=DEMO, user_id=USER).to_bytes()
    await JetStream(client).publish(subjects.requests(DEMO, "a"), queued)

    with capture_logs() as said:
        pull = consumer_next(streams.REQUESTS, streams.request_consumer(DEMO, "a"))
        target = subjects.history(PURGE_USER.name)
        await traitor.publish(API + pull, b'{"batch": 1, "expires": 1000000000}', reply=target)
        await eventually(lambda: "copy_refused" in [line["event"] for line in said])

    found = await answer(client, USER_DATA, UserDataQuery(user_id=USER))
    assert found.state is PurgeState.NONE


async def test_a_gateway_believes_no_key_and_no_news_that_are_copies(
    provisioned: JetStream, nats_server: NatsServer, traitor: Client
) -> None:
    gateway = await connect(nats_server.url, Identity.GATEWAY)
    ring, departures = KeyRing(FakeClock(), lambda: 1), Departures()
    heard: list[LiveEvent] = []
    feed = NatsKeyFeed(gateway, JetStream(gateway), ring, departures)
    live = NatsLive(gateway, "gw")
    session = new_session_id()
    await feed.open()
    ear = await live.listen(USER, session, heard.append, lambda: None)
    ring.replace({}, 1)
    secret = new_secret()
    forged = KeyCopy(id=new_key_id(), user_id=USER, roles=[ADMIN])
    news = LiveEvent(type="typing", session_id=session, origin="gw2/x")

    with capture_logs() as said:
        await smuggle(traitor, forged.to_bytes(), f"$KV.keys.key.{digest_of(secret)}")
        await smuggle(traitor, UNDER_WAY, f"$KV.keys.{WORD}{user_digest(USER)}")
        await smuggle(traitor, news.to_bytes(), subjects.live(USER, session))
        await eventually(lambda: [line["event"] for line in said].count("copy_refused") == 3)

    with pytest.raises(NotAuthenticated):
        ring.find(secret)
    assert not departures.departing(USER)
    assert heard == []
    await ear.close()
    await gateway.close()


async def test_a_gateway_believes_no_key_that_was_copied_into_the_bucket(
    provisioned: JetStream, nats_server: NatsServer, traitor: Client
) -> None:
    gateway = await connect(nats_server.url, Identity.GATEWAY)
    ring, departures = KeyRing(FakeClock(), lambda: 0), Departures()
    feed = NatsKeyFeed(gateway, JetStream(gateway), ring, departures)
    good, first, second = new_secret(), new_secret(), new_secret()
    copies = NatsKeyCopies(provisioned)
    copy = KeyCopy(id=new_key_id(), user_id=USER)
    await copies.create(digest_of(good), copy)
    await copies.say_complete()
    forged = copy.model_copy(update={"roles": [ADMIN]}).to_bytes()
    gone = copy.model_copy(update={"revoked": True}).to_bytes()

    # Before it reads all of them, and after.
    with capture_logs() as said:
        await smuggle(traitor, forged, f"$KV.keys.key.{digest_of(first)}")
        await eventually(lambda: _stored(provisioned, first))
        await feed.refresh()
        await smuggle(traitor, forged, f"$KV.keys.key.{digest_of(second)}")
        await smuggle(traitor, gone, f"$KV.keys.key.{digest_of(good)}")
        await smuggle(traitor, UNDER_WAY, f"$KV.keys.{WORD}{user_digest(USER)}")
        await eventually(lambda: _stored(provisioned, second))
        await feed.refresh()

    assert [line["event"] for line in said].count("copy_refused") == 4
    assert ring.find(good).roles == frozenset()
    for secret in (first, second):
        with pytest.raises(NotAuthenticated):
            ring.find(secret)
    assert not departures.departing(USER)
    await gateway.close()


async def test_a_word_that_was_copied_over_keeps_no_gateway_from_the_keys_for_longer_than_a_minute(
    provisioned: JetStream, nats_server: NatsServer, traitor: Client
) -> None:
    gateway = await connect(nats_server.url, Identity.GATEWAY)
    historian = await connect(nats_server.url, Identity.HISTORY)
    copies, store, time = NatsKeyCopies(JetStream(historian)), MemoryKeyStore(), 0.0
    copying = KeyCopying(store, copies, clock=lambda: time, before=nothing_else)
    ring = KeyRing(FakeClock(), lambda: 0)
    feed = NatsKeyFeed(gateway, JetStream(gateway), ring, Departures())
    await copying.mend()
    place, stream = f"$KV.keys.{COMPLETE}", streams.bucket_stream(streams.KEYS)
    said = await provisioned.last(stream, place)

    async def covered() -> bool:
        return await provisioned.last(stream, place) != said

    await smuggle(traitor, b"1", place)
    await eventually(covered)
    await feed.refresh()
    with pytest.raises(KeysNotLoaded):
        ring.find(new_secret())

    time = 60.0
    await copying.mend()
    await feed.refresh()

    assert ring.loaded
    await historian.close()
    await gateway.close()


async def nothing_else() -> None:
    """Nobody is being removed."""


async def test_a_gateway_takes_no_ticket_that_was_copied_into_the_bucket(
    provisioned: JetStream, nats_server: NatsServer, traitor: Client
) -> None:
    gateway = await connect(nats_server.url, Identity.GATEWAY)
    tickets = NatsTickets(JetStream(gateway))
    until = utc_now() + timedelta(minutes=1)
    entry = TicketEntry(user_id=USER, roles=[ADMIN], models=["*"], valid_until=until)
    digest = digest_of("any text")
    subject = f"$KV.idempotency.ticket.{digest}"
    await smuggle(traitor, entry.to_bytes(), subject)

    async def stored() -> bool:
        stream = streams.bucket_stream(streams.IDEMPOTENCY)
        return await provisioned.last(stream, subject) is not None

    await eventually(stored)
    with capture_logs() as said:
        assert await tickets.take(digest) is None
    assert [line["event"] for line in said] == ["copy_refused"]
    await gateway.close()


async def _stored(jetstream: JetStream, secret: str) -> bool:
    subject = f"$KV.keys.key.{digest_of(secret)}"
    return await jetstream.last(streams.bucket_stream(streams.KEYS), subject) is not None


async def test_history_stores_no_event_that_is_a_copy(
    history: None, provisioned: JetStream, mongo: MongoServer, traitor: Client
) -> None:
    turn = Turn()
    forged = turn.accepted()
    with capture_logs() as said:
        await smuggle(traitor, forged.to_bytes(), subjects.accepted(forged.completion_id))
        await eventually(lambda: "copy_refused" in [line["event"] for line in said])
        await eventually(lambda: all_stored(provisioned))

    stored = Stored(mongo.url)
    assert await stored.count("sessions") == 0
    assert await stored.count("messages") == 0
    stored.close()


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path) as opened:
        yield opened


async def test_a_worker_runs_no_request_that_is_a_copy(world: World, traitor: Client) -> None:
    worker = await world.worker()
    forged = request("Hello", model=DEMO, created_at=utc_now())

    await smuggle(traitor, forged.to_bytes(), subjects.requests(DEMO, "a"))
    await eventually(lambda: worker.logged("copy_refused"))

    async def gone() -> bool:
        return await world.queued() == 0

    await eventually(gone)
    assert await world.engine_log() == []
    end = await world.end_of(await world.ask("Hello [demo tokens=3 tps=0]"))
    assert end.status == "completed"
