"""The history service on a real nats-server and a MongoDB wire server: what it stores."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.provisioning.provisioner import Provisioner
from services.history.settings import Settings
from shared.contracts import session_questions as asked
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.dead_letters import REASON
from shared.contracts.events import CompletionCompleted
from shared.contracts.history import (
    CreateSession,
    GetSession,
    SessionDetail,
    SessionReply,
)
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream, LimitReached
from tests.fakes.history.conversation import SESSION, USER, Turn, stateless
from tests.fakes.history.running import (
    Stored,
    all_stored,
    ask,
    dead_letters,
    history_settings,
    publish,
    running_history,
)
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def mongo(tmp_path: Path) -> AsyncGenerator[MongoServer]:
    with MongoServer(tmp_path / "mongo") as server:
        yield server


@pytest.fixture
async def stored(mongo: MongoServer) -> AsyncGenerator[Stored]:
    view = Stored(mongo.url)
    yield view
    view.close()


@pytest.fixture
def settings(nats_server: NatsServer, mongo: MongoServer) -> Settings:
    return history_settings(nats_server.url, mongo.url)


async def _consumed(jetstream: JetStream) -> None:
    async def done() -> bool:
        return await all_stored(jetstream)

    await eventually(done, within=20)


async def _create(client: Client) -> None:
    command = CreateSession(user_id=USER, session_id=SESSION)
    reply = await ask(client, asked.CREATE_SESSION.name, command, SessionReply)
    assert reply.error is None


async def test_a_replay_of_everything_changes_no_document(
    provisioned: JetStream, client: Client, settings: Settings, stored: Stored
) -> None:
    async with running_history(settings, client):
        await _create(client)
        turn = Turn()
        for _ in range(5):
            await publish(provisioned, turn.accepted(), turn.completed())
            turn = turn.next()
        await publish(provisioned, turn.accepted(), turn.rejected(), stateless(9))
        await _consumed(provisioned)
        collections = ("sessions", "messages", "usage", "completions")
        before = [await stored.documents(name) for name in collections]

        # A consumer that is made anew begins with the first event.
        await provisioned.api(f"CONSUMER.DELETE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}")
        await Provisioner(provisioned, Capacity()).provision()
        await _consumed(provisioned)

        assert [await stored.documents(name) for name in collections] == before
        assert [len(documents) for documents in before] == [1, 11, 6, 7]
        assert await dead_letters(provisioned) == 0


async def test_poison_is_buried_with_its_bytes_and_what_follows_goes_on(
    provisioned: JetStream, client: Client, settings: Settings, stored: Stored
) -> None:
    poison = b'\xff\x00 {"not": json'
    subject = subjects.completed(Turn().completion_id)
    sequence = await provisioned.publish(subject, poison)
    await publish(provisioned, *(stateless(n) for n in range(1, 21)))

    async with running_history(settings, client):
        await _consumed(provisioned)

    assert await stored.count("usage") == 20
    letter = await provisioned.last(streams.DEAD_LETTERS, subjects.dead_letters("history"))
    assert letter is not None
    assert letter.data == poison
    assert letter.headers["Stream-Sequence"] == str(sequence)
    assert letter.headers["Subject"] == subject
    assert letter.headers[REASON]


async def test_what_is_no_delivery_on_the_inbox_of_a_pull_stops_nothing(
    provisioned: JetStream, client: Client, settings: Settings, stored: Stored
) -> None:
    inboxes: set[str] = set()

    async def see(message: Msg) -> None:
        inboxes.add(message.reply)

    pulls = f"$JS.API.CONSUMER.MSG.NEXT.{streams.EVENTS}.{streams.HISTORY_CONSUMER}"
    await client.subscribe(pulls, cb=see)
    async with running_history(settings, client):
        await eventually(lambda: len(inboxes) >= settings.history.consumers)
        for inbox in list(inboxes):
            await client.publish(inbox, b"no delivery")
        await publish(provisioned, *(stateless(n) for n in range(1, 11)))
        await _consumed(provisioned)

    assert await stored.count("usage") == 10


async def test_ten_times_the_size_of_the_stream_passes_through_and_all_is_stored(
    jetstream: JetStream, client: Client, settings: Settings, stored: Stored
) -> None:
    size = 256 * 1024
    await Provisioner(jetstream, Capacity(events_max_bytes=size)).provision()
    events = [stateless(n, text="x" * 16_000) for n in range(1, 10 * size // 16_000 + 2)]

    async def sent(event: CompletionCompleted) -> bool:
        try:
            await publish(jetstream, event)
        except LimitReached:
            return False
        return True

    async with running_history(settings, client):
        for event in events:
            await eventually(partial(sent, event))
        await _consumed(jetstream)

    usage = await stored.documents("usage")
    assert [document["_id"] for document in usage] == sorted(e.completion_id for e in events)
    state = (await jetstream.api(f"STREAM.INFO.{streams.EVENTS}"))["state"]
    assert state["last_seq"] == len(events)
    assert state["bytes"] <= size
    assert await dead_letters(jetstream) == 0


async def test_what_is_stored_and_older_than_the_setting_leaves_the_stream(
    provisioned: JetStream, client: Client, nats_server: NatsServer, mongo: MongoServer
) -> None:
    await publish(provisioned, *(stateless(n) for n in range(1, 6)))
    settings = history_settings(
        nats_server.url,
        mongo.url,
        keep_events=timedelta(0),
        purge_interval=timedelta(milliseconds=50),
    )

    async def empty() -> bool:
        state = (await provisioned.api(f"STREAM.INFO.{streams.EVENTS}"))["state"]
        return int(state["messages"]) == 0

    async with running_history(settings, client):
        await eventually(empty)


async def test_an_accepted_without_an_end_is_closed_and_its_turn_shows_it(
    provisioned: JetStream, client: Client, nats_server: NatsServer, mongo: MongoServer
) -> None:
    settings = history_settings(
        nats_server.url,
        mongo.url,
        sweep_interval=timedelta(milliseconds=50),
        sweep_slack=timedelta(0),
    )
    turn, ended = Turn(), stateless(2)

    async with running_history(settings, client):
        await _create(client)
        await publish(provisioned, turn.accepted(overdue_after_s=0.2))

        async def closed() -> bool:
            return (
                await provisioned.last(streams.EVENTS, subjects.completed(turn.completion_id))
                is not None
            )

        await eventually(closed)
        await publish(provisioned, ended)
        query = GetSession(user_id=USER, session_id=SESSION, after_completion=turn.completion_id)
        detail = await ask(client, asked.GET_SESSION.name, query, SessionDetail)

    end = await provisioned.last(streams.EVENTS, subjects.completed(turn.completion_id))
    assert end is not None
    event = CompletionCompleted.from_bytes(end.data)
    assert event.status is CompletionStatus.FAILED
    assert event.error is not None
    assert event.error.code == "worker_lost"
    assert [message.id for message in detail.messages] == [turn.user_message]
