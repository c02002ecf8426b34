"""Chat over sockets, on two gateways: requirements 5, and what is documented beside it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from shared.contracts.chat import CompletionStatus
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import Job, ScriptedWorker
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

WHOLE = ["connection_established", "user_message", "ai_typing", "ai_message_chunk"]


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, sockets_per_user=8)


async def test_a_turn_reads_as_the_requirements_have_it(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        assert await person.next() == {
            "type": "connection_established",
            "session_id": session,
            "message": "Connected to chat session",
        }
        await person.say(send("Hello, AI!"))
        asked = await person.next()
        thinking = await person.next()
        job = await worker.take()
        await job.say("Hello", " there")
        first = await person.next()
        await job.end()
        done = await person.next("ai_message_complete")

    assert asked["type"] == "user_message"
    assert {"id", "role", "content", "created_at"} <= set(asked["message"])
    assert (asked["message"]["role"], asked["message"]["content"]) == ("user", "Hello, AI!")
    assert (thinking["type"], thinking["message"]) == ("ai_typing", "AI is thinking...")
    assert first["type"] == "ai_message_chunk"
    assert first["full_content"].startswith(first["content"])
    assert person.text == "Hello there" == done["message"]["content"]
    assert done["message"]["role"] == "assistant"
    assert [message.content for message in job.command.messages] == ["Hello, AI!"]
    stored = (await gateway.http.get(f"/ai-chat/api/sessions/{session}/")).json()["messages"]
    assert [one["id"] for one in stored] == [asked["message"]["id"], done["message"]["id"]]


@asynccontextmanager
async def asking(
    gateway: RunningGateway, worker: ScriptedWorker
) -> AsyncGenerator[tuple[SocketClient, Job]]:
    """A socket of a new session that has asked, and what its worker has taken."""
    async with at(gateway, await new_session(gateway)) as person:
        await person.say(send("go"))
        yield person, await worker.take()


async def test_two_gateways_show_the_same_events_in_the_same_order(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as here, at(other, session, "?full_content=false") as there:
        await here.next()
        await there.next()
        for number in range(2):
            await here.say(send(f"question {number}"))
            job = await worker.take()
            await job.say("one ", "two ", f"{number} ")
            await job.end()
            await asyncio.gather(
                here.next("ai_message_complete"), there.next("ai_message_complete")
            )
        # And a turn over HTTP.
        asked = asyncio.create_task(
            other.http.post(f"/api/chat/sessions/{session}/send_message/", json={"message": "hi"})
        )
        job = await worker.take()
        await job.say("three")
        await job.end()
        await asyncio.gather(here.next("ai_message_complete"), there.next("ai_message_complete"))
        assert (await asked).status_code == 200

    turn = ["user_message", "ai_typing", "ai_message_chunk", "ai_message_complete"]
    assert here.types == there.types == ["connection_established", *turn * 3]
    assert here.text == there.text == "one two 0 one two 1 three"
    ends = [[m for m in p.got if m["type"] == "ai_message_complete"] for p in (here, there)]
    assert ends[0] == ends[1]
    assert all("full_content" not in message for message in there.got)


async def test_who_joins_in_the_middle_gets_what_was_said_and_then_the_rest(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as first:
        await first.say(send("go"))
        job = await worker.take()
        await job.say("so far ")
        await first.next("ai_message_chunk")
        async with at(other, session) as late, at(gateway, session) as beside:
            for person in (late, beside):
                assert (await person.next("ai_message_chunk"))["content"] == "so far "
            await job.say("and the rest")
            await job.end()
            for person in (late, beside):
                await person.next("ai_message_complete")
                assert person.text == "so far and the rest"
                assert person.types.count("user_message") == 1


async def test_a_socket_that_was_cut_resumes_without_a_lost_or_doubled_piece(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session, "?full_content=false") as first:
        await first.say(send("go"))
        job = await worker.take()
        await job.say("one ", "two ")
        last = await first.next("ai_message_chunk")
        while first.text != "one two ":
            last = await first.next("ai_message_chunk")
        await job.say("three ")
        first.abort()
    completion = last["completion_id"]
    for gate in (other, gateway):
        async with at(gate, session, "?full_content=false&join=false") as back:
            await back.say({"type": "resume", "completion_id": completion, "after": last["index"]})
            piece = await back.next("ai_message_chunk")
            assert (piece["content"], piece["resumed"]) == ("three ", True)
    async with at(other, session, "?join=false") as back:
        await back.next()
        await job.say("four")
        await job.end()
        await back.next("ai_message_complete")
    # Also when it is over.
    async with at(gateway, session) as late:
        await late.say({"type": "resume", "completion_id": completion, "after": last["index"]})
        done = await late.next("ai_message_complete")
        assert late.text == "three four"
        assert done["message"]["content"] == "one two three four"


async def test_stop_ends_an_answer_with_what_was_said(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway, worker) as (person, job):
        await job.say("half ")
        await person.next("ai_message_chunk")
        await person.say({"type": "stop_generation"})
        await eventually(job.cancelled.is_set)
        await job.end(CompletionStatus.CANCELLED)
        stopped = await person.next("ai_message_stopped")
        assert stopped["message"]["content"] == "half "
        await person.say({"type": "stop_generation"})
        assert (await person.next("error"))["code"] == "completion_not_found"


async def test_stopping_what_has_ended_says_so(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway, worker) as (person, job):
        await job.say("done")
        await job.end()
        await person.next("ai_message_complete")

        await person.say({"type": "stop_generation", "completion_id": job.command.completion_id})

        error = await person.next("error")
    assert (error["code"], error["message"]) == ("completion_not_found", "It has ended already.")


async def test_stop_counts_right_behind_the_message(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.next()
        await person.say(send("go"))
        await person.say({"type": "stop_generation"})
        stopped = await person.next("ai_message_stopped")
        assert "message" not in stopped
        assert await worker.nothing_waits()
        await person.say(send("and now?"))
        job = await worker.take()
        await job.say("yes")
        await job.end()
        await person.next("ai_message_complete")


async def test_a_second_message_is_refused_while_one_is_answered(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.say(send("one"))
        job = await worker.take()
        await person.next("ai_typing")
        await person.say(send("two"))
        assert (await person.next("error"))["code"] == "session_busy"
        await job.say("fine")
        await job.end()
        await person.next("ai_message_complete")
        assert person.types.count("user_message") == 1


async def test_others_see_who_types_and_nobody_sees_himself(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    session = await new_session(gateway)
    async with (
        at(gateway, session) as one,
        at(other, session) as two,
        at(gateway, session) as three,
    ):
        for person in (one, two, three):
            await person.next()
        await one.say({"type": "typing"})
        seen = [await person.next() for person in (two, three)]
        assert [message["type"] for message in seen] == ["typing", "typing"]
        assert len({message["participant"] for message in seen}) == 1
        await one.say({"type": "stop_typing"})
        assert (await two.next())["type"] == "stop_typing"
        await one.say({"type": "ping"})
        assert (await one.next())["type"] == "pong"


async def test_the_list_shows_sessions_as_they_come_change_and_go(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with SocketClient(other.url, "/ws/ai-chat/sessions/") as person:
        assert (await person.next())["type"] == "connection_established"
        session = await new_session(gateway)
        made = await person.next()
        assert (made["type"], made["session"]["id"]) == ("session_created", session)
        await gateway.http.patch(f"/api/chat/sessions/{session}/", json={"title": "Mine"})
        assert (await person.next("session_updated"))["session"]["title"] == "Mine"
        asked = asyncio.create_task(
            gateway.http.post(f"/api/chat/sessions/{session}/send_message/", json={"message": "hi"})
        )
        begun = await person.next("session_updated")
        job = await worker.take()
        await job.say("hello")
        await job.end()
        assert (await asked).status_code == 200
        assert begun["answering"] == (await asked).headers["x-completion-id"]
        assert begun["session"]["title"] == "Mine"
        ended = await person.next("session_updated")
        assert ended["session"]["message_count"] == 2
        assert "answering" not in ended
        await gateway.http.delete(f"/api/chat/sessions/{session}/")
        gone = await person.next()
        assert gone == {"type": "session_deleted", "session_id": session}


async def test_the_list_shows_the_title_of_a_session_that_begins_to_answer(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with (
        SocketClient(other.url, "/ws/ai-chat/sessions/") as person,
        at(gateway, session) as here,
    ):
        await person.next("connection_established")
        await here.say(send("How do I use decorators here?"))
        begun = await person.next("session_updated")
        job = await worker.take()
        assert begun["answering"] == job.command.completion_id
        assert begun["session"]["title"] == "How do I use decorators..."
        await gateway.http.patch(f"/api/chat/sessions/{session}/", json={"temperature": 0.5})
        assert (await person.next("session_updated"))["answering"] == begun["answering"]
        await here.say({"type": "stop_generation"})
        await eventually(job.cancelled.is_set)
        await job.end(CompletionStatus.CANCELLED)
        assert "answering" not in await person.next("session_updated")
        await here.next("ai_message_stopped")


async def test_a_stopping_gateway_sends_its_sockets_to_another_one(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session, "?full_content=false") as first:
        await first.say(send("go"))
        job = await worker.take()
        await job.say("one ")
        last = await first.next("ai_message_chunk")
        gateway.drain.begin()
        assert await first.closed() == 1012
        assert "error" not in first.types
    async with at(other, session, "?full_content=false&join=false") as back:
        await back.say(
            {"type": "resume", "completion_id": last["completion_id"], "after": last["index"]}
        )
        await job.say("two")
        await job.end()
        await back.next("ai_message_complete")
        assert first.text + back.text == "one two"


async def test_a_broker_that_was_away_costs_a_socket_nothing(
    nats_server: NatsServer, gateway: RunningGateway, worker: ScriptedWorker, client: Client
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.next()
        nats_server.stop()
        await nats_server.start()
        await eventually(lambda: client.is_connected)
        await eventually(ready(gateway))
        await person.say(send("still there?"))
        job = await worker.take()
        await job.say("yes")
        await job.end()
        await person.next("ai_message_complete")
        assert person.types == [*WHOLE, "ai_message_complete"]
        assert person.text == "yes"


def ready(gateway: RunningGateway) -> Callable[[], object]:
    async def look() -> bool:
        return (await gateway.http.get("/readyz")).status_code == 200

    return look
