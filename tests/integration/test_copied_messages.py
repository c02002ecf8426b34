"""The broker repeats what a stream holds wherever its asker says: nobody obeys such a copy."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from shared.clock import utc_now
from shared.contracts import session_questions as asked
from shared.contracts import streams, subjects
from shared.contracts.history import CreateSession, DeleteSession, GetSession
from shared.contracts.identities import Identity
from shared.contracts.ids import UserId, new_completion_id, new_session_id
from shared.contracts.jetstream_api import API, direct_get
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import Turn
from tests.fakes.history.running import Stored, all_stored, answer
from tests.fakes.inference_worker.requests import request
from tests.fakes.inference_worker.world import DEMO, World, a_world
from tests.support.mongo_server import MongoServer
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
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
