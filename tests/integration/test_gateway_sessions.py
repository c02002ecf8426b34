"""Turns of sessions: stored where they belong, one at a time, over any number of gateways."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from services.api.adapters.nats_history import NatsHistory
from shared.contracts import session_questions as asked
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.events import CompletionAccepted
from shared.contracts.history import MessageRef, SessionHead, SessionSettings, UpdateSession
from shared.contracts.ids import MessageId, SessionId, UserId
from shared.errors import PayloadTooLarge
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.history import FakeHistory, history_service
from tests.fakes.api.worker import Job, ScriptedWorker
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

Ask = dict[str, Any]


@pytest.fixture
async def history(client: Client) -> AsyncGenerator[FakeHistory]:
    fake = FakeHistory()
    async with history_service(client, fake):
        yield fake


@pytest.fixture
async def gateway(
    nats_server: NatsServer, worker: ScriptedWorker, history: FakeHistory
) -> AsyncGenerator[RunningGateway]:
    async with RunningGateway(quick_settings(nats_server.url)) as running:
        yield running


async def new_session(gateway: RunningGateway) -> SessionId:
    response = await gateway.http.post("/api/chat/sessions/", json={})
    assert response.status_code == 201
    return SessionId(response.json()["id"])


def ask(session_id: str, *texts: str) -> Ask:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"model": "demo", "sessionId": session_id, "messages": messages}


async def test_a_file_that_the_broker_cannot_carry_to_history_is_too_large(
    nats_server: NatsServer, worker: ScriptedWorker, history: FakeHistory
) -> None:
    message = {"id": "a", "role": "user", "createdAt": "2025-01-01T00:00:00Z"}
    file = {"format": "parley-session", "messages": [{**message, "content": "x" * 9_000_000}]}
    async with RunningGateway(quick_settings(nats_server.url, max_body_bytes=10**8)) as gateway:
        refused = await gateway.http.post("/api/chat/sessions/import/", json=file)

    assert refused.status_code == 413
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_too_large")
    assert error["param"] is None
    assert "bytes; the broker carries" in error["message"]


async def test_settings_that_the_broker_cannot_carry_are_too_large(client: Client) -> None:
    settings = SessionSettings(system_prompt="x" * 9_000_000)
    command = UpdateSession(user_id=UserId("u"), session_id=SessionId("s"), settings=settings)

    with pytest.raises(PayloadTooLarge, match="the broker carries"):
        await NatsHistory(client, timeout=1).ask(asked.UPDATE_SESSION, command)


async def accepted(jetstream: JetStream, job: Job) -> CompletionAccepted:
    subject = subjects.accepted(job.command.completion_id)
    stored = await jetstream.last(streams.EVENTS, subject)
    assert stored is not None
    return CompletionAccepted.from_bytes(stored.data)


async def test_the_first_turn_brings_its_message_and_a_title(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    session_id = await new_session(gateway)
    answer = asyncio.create_task(
        gateway.http.post(
            "/v1/chat/completions", json=ask(session_id, "How do I use Python decorators?")
        )
    )
    job = await worker.take()
    event = await accepted(provisioned, job)

    assert event.turn is not None
    assert event.turn.title == "How do I use Python..."
    (message,) = event.turn.messages
    assert (message.depth, message.parent_id) == (1, None)
    assert job.command.place is not None
    assert job.command.place.parent_id == message.id
    assert job.command.place.depth == 2
    assert job.command.place.new_message_ids == [message.id]
    await job.say("Like this")
    await job.end()
    assert (await answer).status_code == 200


async def test_a_second_turn_waits_for_none_and_is_busy_on_any_gateway(
    nats_server: NatsServer,
    gateway: RunningGateway,
    worker: ScriptedWorker,
    history: FakeHistory,
    provisioned: JetStream,
) -> None:
    session_id = await new_session(gateway)
    async with RunningGateway(quick_settings(nats_server.url)) as other:
        answer = asyncio.create_task(
            gateway.http.post("/v1/chat/completions", json=ask(session_id, "one"))
        )
        job = await worker.take()
        for running in (gateway, other):
            busy = await running.http.post("/v1/chat/completions", json=ask(session_id, "two"))
            assert busy.status_code == 409
            assert busy.json()["error"]["code"] == "session_busy"
        await job.say("first")
        await job.end()
        assert (await answer).status_code == 200
        info = await provisioned.api(f"STREAM.INFO.{streams.EVENTS}")
        assert info["state"]["messages"] == 2

        # Free again as soon as the end was seen, on the other gateway too.
        answer = asyncio.create_task(
            other.http.post("/v1/chat/completions", json=ask(session_id, "one", "first", "two"))
        )
        second = await worker.take()
        await second.end()
        await answer
    assert history.placed_after[-1] == job.command.completion_id


async def test_of_many_turns_at_once_exactly_one_runs(
    nats_server: NatsServer, gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session_id = await new_session(gateway)
    async with RunningGateway(quick_settings(nats_server.url)) as other:
        answers = [
            asyncio.create_task(
                running.http.post("/v1/chat/completions", json=ask(session_id, f"{n}"))
            )
            for n, running in enumerate([gateway, other] * 5)
        ]
        job = await worker.take()
        await job.say("only me")
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 9:
            done, _ = await asyncio.wait(answers, timeout=0.05)
        await job.end()
        codes = sorted(answer.status_code for answer in await asyncio.gather(*answers))
    assert codes == [200] + [409] * 9


async def test_a_read_after_the_end_asks_history_for_that_turn(
    gateway: RunningGateway, worker: ScriptedWorker, history: FakeHistory
) -> None:
    session_id = await new_session(gateway)
    request = {**ask(session_id, "one"), "stream": True}
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=request))
    job = await worker.take()
    await job.say("first")
    await job.end()
    await answer
    assert (await gateway.http.get(f"/api/chat/sessions/{session_id}/")).status_code == 200
    assert history.waited_for[-1] == job.command.completion_id


async def test_a_client_that_goes_away_frees_the_session_once_its_turn_has_ended(
    nats_server: NatsServer, worker: ScriptedWorker, history: FakeHistory
) -> None:
    settings = quick_settings(nats_server.url, resume_grace=timedelta(milliseconds=300))
    async with RunningGateway(settings) as gateway:
        await _leave_and_come_again(gateway, worker)


async def _leave_and_come_again(gateway: RunningGateway, worker: ScriptedWorker) -> None:
    session_id = await new_session(gateway)
    request = gateway.http.post("/v1/chat/completions", json=ask(session_id, "one"))
    answer = asyncio.create_task(request)
    job = await worker.take()
    answer.cancel()
    await job.cancelled.wait()
    busy = await gateway.http.post("/v1/chat/completions", json=ask(session_id, "two"))
    assert busy.status_code == 409
    await job.end(CompletionStatus.CANCELLED)

    async def try_again() -> None:
        while True:
            response = await gateway.http.post("/v1/chat/completions", json=ask(session_id, "two"))
            if response.status_code == 200:
                return

    again = asyncio.create_task(try_again())
    second = await worker.take()
    await second.end()
    await asyncio.wait_for(again, 5)


async def test_without_history_a_session_goes_on_from_its_last_good_turn(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    history: FakeHistory,
    provisioned: JetStream,
) -> None:
    session_id = await new_session(gateway)
    stranger = await new_session(gateway)
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ask(session_id, "one"))
    )
    first = await worker.take()
    await first.say("first")
    await first.end()
    await answer
    history.away = True

    refused = await gateway.http.post("/v1/chat/completions", json=ask(stranger, "one"))
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "history_unavailable"
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ask(session_id, "one", "first", "two"))
    )
    second = await worker.take()
    event = await accepted(provisioned, second)
    assert event.turn is not None
    assert first.command.place is not None
    (message,) = event.turn.messages
    assert message.parent_id == first.command.place.message_id
    assert message.depth == 3
    assert event.turn.title is None
    await second.end()
    assert (await answer).status_code == 200


async def test_a_question_sent_again_is_another_answer_to_the_stored_one(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    history: FakeHistory,
    provisioned: JetStream,
) -> None:
    session_id = await new_session(gateway)
    question = Message(role="user", content="one")
    answer_ref = Message(role="assistant", content="first")
    history.heads[session_id] = SessionHead(
        turn=1,
        titled=True,
        last_user=MessageRef(id=MessageId("u"), role="user", depth=1, digest=question.digest()),
        leaf=MessageRef(id=MessageId("a"), role="assistant", depth=2, digest=answer_ref.digest()),
    )
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ask(session_id, "one"))
    )
    job = await worker.take()
    event = await accepted(provisioned, job)
    assert event.turn is not None
    assert event.turn.messages == []
    assert event.turn.turn == 2
    assert job.command.place is not None
    assert job.command.place.parent_id == "u"
    assert job.command.place.depth == 2
    await job.end()
    await answer


async def test_deleting_a_session_stops_the_turn_that_runs_in_it(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session_id = await new_session(gateway)
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json=ask(session_id, "one"))
    )
    job = await worker.take()
    assert (await gateway.http.delete(f"/api/chat/sessions/{session_id}/")).status_code == 204
    async with asyncio.timeout(2):
        await job.cancelled.wait()
    await job.end(CompletionStatus.CANCELLED)
    assert (await answer).status_code == 409
    gone = await gateway.http.get(f"/api/chat/sessions/{session_id}/")
    assert gone.status_code == 404
