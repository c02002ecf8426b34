"""Turns of a session start answers too, over HTTP and at sockets: one limit for all of them."""

import asyncio

import pytest

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker
from tests.support.nats_server import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

HELLO = {"message": "Hello"}


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, requests_per_minute=3, concurrent_requests=1)


async def answer(worker: ScriptedWorker) -> None:
    job = await worker.take()
    await job.say("Hi")
    await job.end()


async def test_sending_asking_again_and_wording_anew_all_count(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = f"/api/chat/sessions/{await new_session(gateway)}"
    sending = asyncio.create_task(gateway.http.post(f"{session}/send_message/", json=HELLO))
    await answer(worker)
    first = await sending
    asked, said = first.json()["userMessage"]["id"], first.json()["aiMessage"]["id"]
    asking = asyncio.create_task(gateway.http.post(f"{session}/messages/{said}/regenerate/"))
    await answer(worker)
    again = await asking
    wording = asyncio.create_task(gateway.http.patch(f"{session}/messages/{asked}/", json=HELLO))
    await answer(worker)
    anew = await wording
    answers = [first, again, anew]
    left = [each.headers["x-ratelimit-remaining-requests"] for each in answers]
    assert left == ["2", "1", "0"]

    refused = [
        await gateway.http.post(f"{session}/send_message/", json=HELLO),
        await gateway.http.post(f"{session}/messages/{said}/regenerate/"),
        await gateway.http.patch(f"{session}/messages/{asked}/", json=HELLO),
    ]
    assert [each.status_code for each in refused] == [429] * 3
    assert {each.json()["error"]["code"] for each in refused} == {"rate_limit_exceeded"}
    # What was refused has left nothing, and the session is free.
    page = await gateway.http.get(f"{session}/messages/")
    assert page.status_code == 200
    assert "x-ratelimit-limit-requests" not in page.headers


async def test_a_socket_is_told_when_to_come_again(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    one, two = await new_session(gateway), await new_session(gateway)
    async with at(gateway, one) as here, at(other, two) as there:
        await here.next()
        await there.next()
        await here.say(send("Hello"))
        job = await worker.take()
        await there.say(send("Hello"))
        error = await there.next()
        assert (error["type"], error["code"], error["retry_after"]) == (
            "error",
            "rate_limit_exceeded",
            1,
        )
        assert "running" in error["message"]
        await job.say("Hi")
        await job.end()
        await here.next("ai_message_complete")
        # The place is free with the end, at the other gateway too, and the refusal cost nothing.
        for _ in range(2):
            await there.say(send("Hello"))
            await answer(worker)
            await there.next("ai_message_complete")
        await here.say(send("Hello"))
        error = await here.next("error")
        assert error["code"] == "rate_limit_exceeded"
        assert 1 <= error["retry_after"] <= 20
        assert "3 answers a minute" in error["message"]


async def test_the_messages_of_a_socket_are_other_requests(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, other_requests_per_minute=5)
    async with RunningGateway(settings) as gateway:
        session = await new_session(gateway)
        async with at(gateway, session) as person:
            await person.next()
            for _ in range(6):
                await person.say(send("Hello"))
                await answer(worker)
                await person.next("ai_message_complete")
            # Opening the socket was one, and making the session another.
            for _ in range(3):
                await person.say({"type": "ping"})
                assert (await person.next())["type"] == "pong"
            await person.say({"type": "ping"})
            error = await person.next()
            assert (error["type"], error["code"]) == ("error", "rate_limit_exceeded")
            assert error["retry_after"] == 12
