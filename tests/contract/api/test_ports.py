"""What the gateway's ports promise: the fakes of the unit tests and NATS both keep it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from deploy.provisioning.provisioner import Provisioner
from services.api.adapters.nats_connection import NatsConnection
from services.api.adapters.nats_inbox import NatsInbox
from services.api.adapters.nats_journal import NatsFrameLog, NatsJournal, NatsQueue
from services.api.adapters.nats_turns import NatsTurns
from services.api.adapters.nats_workers import NatsWorkers
from services.api.ports.broker import FrameLog, Heard, Journal, Queue, Service, Workers
from services.api.ports.mailbox import Mailbox
from services.api.ports.sessions import Turns, TurnState
from shared.contracts import subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId, new_completion_id, new_session_id
from shared.contracts.streams import Capacity
from shared.errors import QueueFull
from shared.messaging.jetstream import JetStream
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import (
    FakeFrameLog,
    FakeJournal,
    FakeQueue,
    FakeTurns,
    FakeWorkers,
    SetClock,
)
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

USER = UserId("local")


class Ports:
    """One implementation of each."""

    journal: Journal
    queue: Queue
    turns: Turns
    workers: Workers
    frames: FrameLog

    async def store(self, completion_id: CompletionId, frame: Frame) -> None:
        """Let the log have a frame."""
        raise NotImplementedError

    def nobody_is_there(self) -> None:
        """Let no worker be there."""


class Fakes(Ports):
    """In memory."""

    def __init__(self) -> None:
        self.journal = FakeJournal()
        self.queue = FakeQueue()
        self.turns = FakeTurns()
        self._workers = self.workers = FakeWorkers()
        self._frames = self.frames = FakeFrameLog()

    async def store(self, completion_id: CompletionId, frame: Frame) -> None:
        """Append it."""
        self._frames.frames.append(frame)

    def nobody_is_there(self) -> None:
        """Say so."""
        self._workers.service, self._workers.heard = Service.NOBODY, Heard.NOBODY


class OverNats(Ports):
    """The adapters on a real server."""

    def __init__(self, client: Client, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self.journal = NatsJournal(jetstream)
        self.queue = NatsQueue(jetstream)
        self.turns = NatsTurns(jetstream, running=15)
        self.workers = NatsWorkers(client)
        self.frames = NatsFrameLog(jetstream, partial(subjects.chunks, "gw"))

    async def store(self, completion_id: CompletionId, frame: Frame) -> None:
        """Publish it where the stream listens."""
        await self._jetstream.publish(subjects.chunks("gw", completion_id), frame.to_bytes())


@pytest.fixture(params=["fakes", "nats"])
async def ports(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Ports]:
    if request.param == "fakes":
        yield Fakes()
        return
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        jetstream = JetStream(client)
        await Provisioner(jetstream, Capacity(queue_limit=2)).provision()
        yield OverNats(client, jetstream)
        await client.close()


def end(completion_id: CompletionId, status: CompletionStatus) -> CompletionCompleted:
    return CompletionCompleted(
        completion_id=completion_id,
        user_id=USER,
        model="demo",
        status=status,
        created_at=NOON,
        completed_at=NOON,
    )


def command(completion_id: CompletionId) -> bytes:
    return RunCompletion(
        completion_id=completion_id,
        reply_subject="x",
        user_id=USER,
        model="demo:latest",
        display_model="demo",
        created_at=NOON,
        messages=[],
        generating_deadline=timedelta(seconds=1),
    ).to_bytes()


async def test_the_first_end_stands(ports: Ports) -> None:
    completion_id = new_completion_id()
    assert await ports.journal.completed(completion_id) is None
    first = end(completion_id, CompletionStatus.COMPLETED)
    await ports.journal.complete(first)
    await ports.journal.complete(end(completion_id, CompletionStatus.REJECTED))
    assert await ports.journal.completed(completion_id) == first


async def test_accepting_is_recorded_without_ending_anything(ports: Ports) -> None:
    completion_id = new_completion_id()
    assert await ports.journal.accepted(completion_id) is None
    event = CompletionAccepted(
        completion_id=completion_id,
        user_id=USER,
        model="demo",
        accepted_at=NOON,
        overdue_after_s=1,
    )
    await ports.journal.accept(event)
    assert await ports.journal.accepted(completion_id) == event
    assert await ports.journal.accepted(new_completion_id()) is None
    assert await ports.journal.completed(completion_id) is None


async def test_a_queued_request_is_withdrawn_once(ports: Ports) -> None:
    completion_id = new_completion_id()
    number = await ports.queue.enqueue(command(completion_id), "demo:latest", "a")
    assert await ports.queue.withdraw(number, completion_id) is True
    assert await ports.queue.withdraw(number, completion_id) is False


async def test_a_number_that_is_anothers_by_now_withdraws_nothing(ports: Ports) -> None:
    completion_id = new_completion_id()
    number = await ports.queue.enqueue(command(completion_id), "demo:latest", "a")
    assert await ports.queue.withdraw(number, new_completion_id()) is False
    assert await ports.queue.withdraw(number, completion_id) is True


async def test_a_full_queue_refuses(ports: Ports) -> None:
    if isinstance(ports.queue, FakeQueue):
        ports.queue.full = True
    else:
        for _ in range(2):
            await ports.queue.enqueue(command(new_completion_id()), "demo:latest", "a")
    with pytest.raises(QueueFull):
        await ports.queue.enqueue(command(new_completion_id()), "demo:latest", "a")


async def test_a_turn_changes_only_from_the_revision_that_was_seen(ports: Ports) -> None:
    session, completion = new_session_id(), new_completion_id()
    running = TurnState(user_id=USER, running=completion)
    assert await ports.turns.get(session) is None
    revision = await ports.turns.set(session, running, None)
    assert revision is not None
    assert await ports.turns.set(session, running, None) is None
    held = await ports.turns.get(session)
    assert held is not None
    assert (held.state, held.revision) == (running, revision)
    assert held.age < 10
    idle = TurnState(user_id=USER, last=completion)
    assert await ports.turns.set(session, idle, revision) is not None
    assert await ports.turns.set(session, running, revision) is None
    held = await ports.turns.get(session)
    assert held is not None
    assert held.state == idle


async def test_where_nobody_is_nobody_answers(ports: Ports) -> None:
    ports.nobody_is_there()
    assert await ports.workers.probe("demo") is Service.NOBODY
    assert await ports.workers.cancel(new_completion_id()) is Heard.NOBODY


async def test_the_log_is_read_in_order_from_any_position(ports: Ports) -> None:
    completion_id = new_completion_id()
    frames = [Frame(FrameKind.TOKENS, 1, n, 1, n, n, 0, b"%d" % n) for n in range(3)]
    for frame in frames:
        await ports.store(completion_id, frame)
    read = [item async for item in ports.frames.replay(completion_id, 1)]
    assert [frame for _, frame in read] == frames
    later = [item async for item in ports.frames.replay(completion_id, read[1][0])]
    assert later == read[1:]
    assert [item async for item in ports.frames.replay(completion_id, read[-1][0] + 1)] == []


@asynccontextmanager
async def _watching(connection: NatsConnection) -> AsyncGenerator[None]:
    task = asyncio.create_task(connection.watch())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_inbox_sorts_frames_into_mailboxes_and_alarms_after_a_reconnect(
    tmp_path: Path,
) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=1)
        inbox = NatsInbox(client)
        connection = NatsConnection(client, inbox, on_connected=[])
        assert not connection.ready()
        await connection.begin()
        assert connection.ready()

        completion_id = new_completion_id()
        mailbox = Mailbox(1000, clock=SetClock().monotonic)
        alarms: list[str] = []
        inbox.register(completion_id, mailbox, lambda: alarms.append("look"))
        frame = Frame(FrameKind.TOKENS, 1, 0, 1, 1, 1, 0, b"x")
        await client.publish(inbox.reply_subject(completion_id), frame.to_bytes())
        assert await eventually(mailbox.take) == [frame]
        await client.publish(inbox.reply_subject(completion_id), b"\xff")
        await eventually(lambda: alarms)

        alarms.clear()
        async with _watching(connection):
            server.kill()
            await server.start()
            await eventually(lambda: alarms)
            await eventually(connection.ready)

        another = Mailbox(1000, clock=SetClock().monotonic)
        inbox.remove(completion_id, another)
        await client.publish(inbox.reply_subject(completion_id), frame.to_bytes())
        assert await eventually(mailbox.take) == [frame]
        inbox.remove(completion_id, mailbox)
        await inbox.close()
        await client.close()
