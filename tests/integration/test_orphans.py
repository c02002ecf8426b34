"""A gateway that dies, or sleeps, between ``accepted`` and the request: somebody else ends it."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from services.api.ports.broker import Queue
from services.api.settings import Settings as GatewaySettings
from services.api.world import World, nats_world
from shared.contracts import streams
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import at, new_session
from tests.fakes.api.worker import ScriptedWorker
from tests.support.nats_keys import seed_file
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]


async def die(nats_url: str, session: str) -> None:
    """A gateway process is asked for a turn, and is killed before it queues the request."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.api.dying_gateway",
        nats_url, str(seed_file(Identity.GATEWAY)),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = ""
        async with asyncio.timeout(30):
            # Its log goes there, too.
            while not url.startswith("http://"):
                url = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.post(address(session), json={"message": "hi"})
    except BaseException:
        process.kill()
        await process.wait()
        raise
    # It has killed itself. To kill it once more would reap it, and asyncio, which waits for it,
    # would not learn how it ended.
    assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL


def address(session: str) -> str:
    return f"/ai-chat/api/sessions/{session}/send_message/"


async def answers(gateway: RunningGateway, worker: ScriptedWorker, session: str) -> bool:
    """Whether the session takes another message."""
    asking = asyncio.create_task(gateway.http.post(address(session), json={"message": "again"}))
    job = await worker.take()
    await job.say("so")
    await job.end()
    return (await asking).status_code == 200


async def ends(jetstream: JetStream) -> list[CompletionCompleted]:
    replay = jetstream.replay(streams.EVENTS, "chat.events.completed.*")
    return [CompletionCompleted.from_bytes(message.data) async for message in replay]


@pytest.fixture
async def orphan(
    nats_server: NatsServer, other: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> AsyncGenerator[SocketClient]:
    """Looks on while a gateway dies of a turn, which ends once; its session goes on afterwards."""
    session = await new_session(other)
    async with at(other, session) as there:
        await there.next()
        await die(nats_server.url, session)
        yield there
    (end,) = await ends(provisioned)
    assert end.attempts == 0
    assert end.place is not None
    assert end.place.session_id == session
    assert await answers(other, worker, session)


async def test_a_turn_whose_gateway_was_killed_before_it_was_queued_can_be_cancelled_elsewhere(
    orphan: SocketClient, other: RunningGateway, provisioned: JetStream
) -> None:
    asked = await orphan.next("ai_typing")
    busy = await other.http.post(address(orphan.got[0]["session_id"]), json={"message": "again"})
    assert busy.json()["error"]["code"] == "session_busy"

    path = f"/v1/chat/completions/{asked['completion_id']}/cancel"
    cancelled = await other.http.post(path)

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    stopped = await orphan.next("ai_message_stopped")
    assert stopped["completion_id"] == asked["completion_id"]
    assert [it.status for it in await ends(provisioned)] == [CompletionStatus.CANCELLED]


@pytest.mark.slow
async def test_a_turn_whose_gateway_was_killed_before_it_was_queued_fails_by_itself(
    orphan: SocketClient, provisioned: JetStream
) -> None:
    failed = await orphan.next("error", within=25)
    assert failed["code"] == "worker_lost"
    assert orphan.types == ["connection_established", "user_message", "ai_typing", "error"]
    assert [it.status for it in await ends(provisioned)] == [CompletionStatus.FAILED]


class SlowQueue:
    """Queues nothing before it is let."""

    def __init__(self) -> None:
        self.reached, self.let = asyncio.Event(), asyncio.Event()
        self.queue: Queue

    @asynccontextmanager
    async def world(self, settings: GatewaySettings) -> AsyncGenerator[World]:
        async with nats_world(settings) as world:
            self.queue = world.queue
            yield replace(world, queue=self)

    async def enqueue(self, command: bytes, model: str, lane: str) -> int:
        self.reached.set()
        await self.let.wait()
        return await self.queue.enqueue(command, model, lane)

    async def withdraw(self, number: int, completion_id: CompletionId) -> bool:
        return await self.queue.withdraw(number, completion_id)


async def test_a_request_that_is_queued_after_its_cancel_does_not_change_the_end(
    gateway_settings: GatewaySettings,
    other: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
) -> None:
    session, slow = await new_session(other), SlowQueue()
    async with at(other, session) as there:
        await there.next()
        async with RunningGateway(gateway_settings, open_world=slow.world) as asleep:
            sent = {"message": "hi"}
            asking = asyncio.create_task(asleep.http.post(address(session), json=sent))
            await asyncio.wait_for(slow.reached.wait(), 5)
            asked = await there.next("ai_typing")
            path = f"/v1/chat/completions/{asked['completion_id']}/cancel"
            cancelled = await other.http.post(path)
            assert cancelled.json()["status"] == "cancelled"

            slow.let.set()
            answer = await asking
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
            # What its worker finds is the end, and the tombstone beside it.
            job = await worker.take()
            assert job.command.completion_id == asked["completion_id"]
            bucket = streams.bucket_stream(streams.CANCELLATIONS)
            subject = f"$KV.cancellations.{job.command.completion_id}"
            assert await provisioned.last(bucket, subject) is not None
            await job.end_if_first(CompletionStatus.COMPLETED)
    (end,) = await ends(provisioned)
    assert end.status is CompletionStatus.CANCELLED
    assert await answers(other, worker, session)
