"""Sockets hear what becomes of sessions also when the gateway that was asked is gone by then."""

import asyncio
import signal

import httpx
import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from shared.contracts import session_questions as asked
from shared.contracts import streams
from shared.contracts.history import DeleteSession, RestoreSession, UpdateSession
from shared.contracts.ids import SessionId, UserId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session
from tests.fakes.api.worker import ScriptedWorker
from tests.fakes.history.conversation import Turn
from tests.fakes.history.running import answer, publish
from tests.integration.test_gateway_process import known_to, ready, start
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

USER = UserId("local")
LIST = "/ws/ai-chat/sessions/"


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, sockets_per_user=8)


async def test_a_list_hears_the_end_of_a_turn_whose_gateway_was_killed(
    gateway: RunningGateway, worker: ScriptedWorker, nats_server: NatsServer
) -> None:
    session = await new_session(gateway)
    process = await start(**known_to(nats_server), API_PORT="0")
    try:
        url = f"http://127.0.0.1:{await ready(process)}"
        async with (
            SocketClient(gateway.url, LIST) as person,
            httpx.AsyncClient(base_url=url, timeout=20) as http,
        ):
            await person.next("connection_established")
            body = {"message": "hi there", "stream": True}
            path = f"/api/chat/sessions/{session}/send_message/"
            sent = asyncio.create_task(http.post(path, json=body))
            job = await worker.take(within=15)
            begun = await person.next("session_updated")
            assert begun["answering"] == job.command.completion_id
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(sent, return_exceptions=True)
            await job.say("Hello")
            await job.end()
            ended = await person.next("session_updated")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert ended["session"]["message_count"] == 2
    assert "answering" not in ended


async def test_a_list_hears_once_of_a_turn_that_is_stored(
    gateway: RunningGateway, client: Client, provisioned: JetStream
) -> None:
    session = SessionId(await new_session(gateway))
    async with SocketClient(gateway.url, LIST) as person:
        await person.next("connection_established")
        turn = Turn(session_id=session, user_id=USER)
        await publish(provisioned, turn.accepted(), turn.completed())
        # Somebody reads it at once, which stores it as well.
        assert (await gateway.http.get(f"/api/chat/sessions/{session}/")).status_code == 200
        assert (await person.next())["session"]["message_count"] == 2
        # What comes next is the next change.
        await answer(
            client,
            asked.UPDATE_SESSION,
            UpdateSession(user_id=USER, session_id=session, title="Mine"),
        )
        assert (await person.next())["session"]["title"] == "Mine"


async def test_a_list_hears_that_a_turn_that_cannot_be_queued_is_over(
    gateway: RunningGateway, other: RunningGateway, provisioned: JetStream
) -> None:
    session = await new_session(gateway)
    config = (await provisioned.api(f"STREAM.INFO.{streams.REQUESTS}"))["config"]
    await provisioned.api(f"STREAM.UPDATE.{streams.REQUESTS}", {**config, "max_bytes": 1000})
    async with SocketClient(other.url, LIST) as person:
        await person.next("connection_established")
        path = f"/api/chat/sessions/{session}/send_message/"
        refused = await gateway.http.post(path, json={"message": "x" * 5000})
        assert refused.status_code == 429
        told = await person.next("session_updated")
        if "answering" in told:
            told = await person.next("session_updated")
    assert "answering" not in told
    assert told["session"]["message_count"] == 0


async def test_sockets_close_when_the_gateway_that_deleted_their_session_is_gone(
    other: RunningGateway, client: Client
) -> None:
    session = SessionId(await new_session(other))
    async with at(other, session) as person, SocketClient(other.url, LIST) as lists:
        await person.next("connection_established")
        await lists.next("connection_established")
        # What a gateway does that is killed behind its own write.
        command = DeleteSession(user_id=USER, session_id=session)
        await answer(client, asked.DELETE_SESSION, command)
        assert await lists.next() == {"type": "session_deleted", "session_id": session}
        assert await person.closed() == 4404
        await answer(
            client, asked.RESTORE_SESSION, RestoreSession(user_id=USER, session_id=session)
        )
        assert (await lists.next())["type"] == "session_created"


async def test_what_is_preferred_at_one_gateway_holds_at_once_at_the_other(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    path = "/ai-chat/api/preferences/"
    for temperature in (0.25, 0.5):
        said = await gateway.http.put(path, json={"temperature": temperature})
        assert said.status_code == 200
        assert (await other.http.get(path)).json()["temperature"] == temperature


async def test_a_turn_does_not_take_what_was_preferred_before_a_change_elsewhere(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(other)
    for temperature in (0.25, 0.5):
        path = "/ai-chat/api/preferences/"
        said = await gateway.http.put(path, json={"temperature": temperature})
        assert said.status_code == 200
        sent = asyncio.create_task(
            other.http.post(f"/ai-chat/api/sessions/{session}/send_message/", json={"message": "x"})
        )
        job = await worker.take()
        await job.say("so")
        await job.end()
        assert (await sent).status_code == 200
        assert job.command.sampling.temperature == temperature
