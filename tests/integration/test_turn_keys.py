"""Idempotency keys on the turns of a session: whoever comes again gets the turn that was begun."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import new_session
from tests.fakes.api.worker import ScriptedWorker, text_of
from tests.support.nats_server import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

KEY = {"Idempotency-Key": "k1"}
HELLO = {"message": "Hello"}


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    settings = quick_settings(nats_server.url)
    # No broker is away here, but ten who ask at once may wait for a disk that others use, too.
    patient = settings.nats.model_copy(update={"request_timeout": timedelta(seconds=5)})
    return settings.model_copy(update={"nats": patient})


def ask(
    gateway: RunningGateway,
    session: str,
    body: dict[str, Any],
    face: str = "/ai-chat/api",
    path: str = "send_message",
) -> asyncio.Task[httpx.Response]:
    address = f"{face}/sessions/{session}/{path}/"
    return asyncio.create_task(gateway.http.post(address, json=body, headers=KEY))


async def messages(gateway: RunningGateway, session: str) -> list[str]:
    page = (await gateway.http.get(f"/api/chat/sessions/{session}/messages/")).json()
    return [message["content"] for message in page["messages"]]


@pytest.mark.parametrize("stream", [True, False])
async def test_ten_with_one_key_are_one_turn_and_ten_equal_answers(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, stream: bool
) -> None:
    session = await new_session(gateway)
    asking = [ask(one, session, {**HELLO, "stream": stream}) for one in [gateway, other] * 5]
    job = await worker.take()
    await job.say("Hi ", "there")
    await job.end()
    responses = await asyncio.gather(*asking)

    assert {response.status_code for response in responses} == {200}
    replayed = [response.headers.get("idempotency-replayed") for response in responses]
    assert (replayed.count("true"), replayed.count(None)) == (9, 1)
    for name in ("x-completion-id", "x-message-id", "x-user-message-id"):
        assert len({response.headers[name] for response in responses}) == 1
    if stream:
        assert {text_of(response.text) for response in responses} == {"Hi there"}
    else:
        assert len({response.text for response in responses}) == 1
        assert responses[0].json()["user_message"]["content"] == "Hello"
    assert await messages(other, session) == ["Hello", "Hi there"]
    assert await worker.nothing_waits()


async def test_a_finished_turn_is_told_again_on_either_face_and_the_session_stays_as_it_is(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    first = ask(gateway, session, HELLO)
    job = await worker.take()
    await job.say("Hi")
    await job.end()
    answered = (await first).json()
    again = await ask(other, session, HELLO, face="/api/chat")
    assert again.json()["aiMessage"]["id"] == answered["ai_message"]["id"]
    assert again.json()["userMessage"]["id"] == answered["user_message"]["id"]
    assert await messages(gateway, session) == ["Hello", "Hi"]


async def test_the_same_body_at_another_address_is_another_request(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    sessions = [await new_session(gateway) for _ in range(2)]
    first = ask(gateway, sessions[0], HELLO)
    job = await worker.take()
    elsewhere = await ask(gateway, sessions[1], HELLO)
    await job.end()
    await first
    assert elsewhere.status_code == 422
    assert elsewhere.json()["error"]["code"] == "idempotency_key_reused"
    assert await messages(gateway, sessions[1]) == []


async def test_a_refused_turn_leaves_its_key_free(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    running = asyncio.create_task(
        gateway.http.post(f"/ai-chat/api/sessions/{session}/send_message/", json=HELLO)
    )
    job = await worker.take()
    busy = await ask(gateway, session, HELLO)
    await job.end()
    await running
    again = ask(gateway, session, HELLO)
    job = await worker.take()
    await job.say("now")
    await job.end()
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "session_busy")
    assert (await again).status_code == 200
    assert "idempotency-replayed" not in (await again).headers


async def test_another_answer_with_one_key_is_one_sibling(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    first = ask(gateway, session, HELLO)
    job = await worker.take()
    await job.end()
    answer = (await first).json()["ai_message"]["id"]
    path = f"messages/{answer}/regenerate"
    headers = {"Idempotency-Key": "k2"}
    asking = [
        asyncio.create_task(one.http.post(f"/api/chat/sessions/{session}/{path}/", headers=headers))
        for one in (gateway, other)
    ]
    job = await worker.take()
    await job.say("else")
    await job.end()
    first_again, second_again = await asyncio.gather(*asking)
    assert first_again.text == second_again.text
    assert "userMessage" not in first_again.json()
    assert await worker.nothing_waits()
    page = (await gateway.http.get(f"/api/chat/sessions/{session}/messages/")).json()
    assert len(page["messages"][-1]["siblingIds"]) == 2
