"""A turn that could not be queued: who asked hears why, and all others see the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from shared.contracts import streams
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

SHOWN = ["connection_established", "user_message", "ai_typing"]


@asynccontextmanager
async def full_queue(jetstream: JetStream) -> AsyncGenerator[None]:
    """The broker takes no further request."""
    config = (await jetstream.api(f"STREAM.INFO.{streams.REQUESTS}"))["config"]
    await jetstream.api(f"STREAM.UPDATE.{streams.REQUESTS}", {**config, "max_bytes": 1000})
    yield
    await jetstream.api(f"STREAM.UPDATE.{streams.REQUESTS}", config)


async def test_sockets_beside_the_asker_see_what_those_at_another_gateway_see(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    session = await new_session(gateway)
    async with (
        at(gateway, session) as asker,
        at(gateway, session) as beside,
        at(other, session) as there,
    ):
        for person in (asker, beside, there):
            await person.next()
        async with full_queue(provisioned):
            await asker.say(send("x" * 5000))
            refused = await asker.next("error")
            taken_back = [await person.next("message_rejected") for person in (beside, there)]
        assert refused["code"] == "queue_full"
        assert taken_back[0] == taken_back[1]
        assert beside.got == there.got
        assert beside.types == [*SHOWN, "message_rejected"]

        # The next turn is shown to everybody: nothing of the former one comes behind it.
        await asker.say(send("again"))
        job = await worker.take()
        await job.say("so")
        await job.end()
        for person in (asker, beside, there):
            await person.next("ai_message_complete")
        assert asker.types[:3] == ["connection_established", "error", "user_message"]
        assert beside.types == there.types


async def test_who_asks_over_http_is_refused_and_all_sockets_see_the_same(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    session = await new_session(gateway)
    path = f"/ai-chat/api/sessions/{session}/send_message/"
    async with at(gateway, session) as here, at(other, session) as there:
        await asyncio.gather(here.next(), there.next())
        async with full_queue(provisioned):
            refused = await gateway.http.post(path, json={"message": "x" * 5000})
            assert refused.json()["error"]["code"] == "queue_full"
            await asyncio.gather(here.next("message_rejected"), there.next("message_rejected"))
        assert here.got == there.got
        assert here.types == [*SHOWN, "message_rejected"]
