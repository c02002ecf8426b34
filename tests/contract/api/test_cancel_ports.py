"""What keys, tombstones and notes of queued requests promise: fakes and NATS both keep it."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.provisioning.provisioner import Provisioner
from services.api.adapters.nats_journal import NatsJournal, NatsQueue, NatsTombstones
from services.api.adapters.nats_keys import NatsKeys
from services.api.adapters.nats_queue_notes import NatsQueueNotes
from services.api.ports.broker import AlreadyAccepted, Journal, Queue, Tombstones
from services.api.ports.keys import KeyEntry, Keys, Mark, Marks
from services.api.ports.queue import QueueNotes
from shared.contracts.chat import Message
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId, UserId, new_completion_id
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import (
    FakeJournal,
    FakeKeys,
    FakeQueue,
    FakeQueueNotes,
    FakeTombstones,
)
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


class Ports(NamedTuple):
    journal: Journal
    keys: Keys
    marks: Marks
    notes: QueueNotes
    queue: Queue
    tombstones: Tombstones


@pytest.fixture(params=["fakes", "nats"])
async def ports(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Ports]:
    if request.param == "fakes":
        queue, marks = FakeQueue(), FakeTombstones()
        yield Ports(FakeJournal(), FakeKeys(), marks, FakeQueueNotes(queue), queue, marks)
        return
    async with NatsServer(tmp_path / "nats") as server:
        await server.provision(Capacity())
        provisioner = await connect(server.url, Identity.PROVISIONER)
        await Provisioner(JetStream(provisioner), Capacity()).provision_model("demo:latest")
        await provisioner.close()
        client = await connect(server.url, Identity.GATEWAY)
        jetstream = JetStream(client)
        tombstones = NatsTombstones(jetstream, ttl=60)
        yield Ports(
            NatsJournal(jetstream),
            NatsKeys(jetstream, ttl=60),
            tombstones,
            NatsQueueNotes(client, jetstream, ttl=60),
            NatsQueue(jetstream),
            tombstones,
        )
        await client.close()


def command(completion_id: CompletionId) -> RunCompletion:
    return RunCompletion(
        completion_id=completion_id,
        reply_subject=f"chat.chunks.gw.{completion_id}",
        user_id=UserId("local"),
        model="demo:latest",
        display_model="demo",
        created_at=NOON,
        messages=[],
        generating_deadline=timedelta(seconds=1),
    )


async def test_only_one_accepts(ports: Ports) -> None:
    completion_id = new_completion_id()
    event = CompletionAccepted(
        completion_id=completion_id,
        user_id=UserId("local"),
        model="demo",
        accepted_at=NOON,
        overdue_after_s=1,
    )
    await ports.journal.accept(event)
    with pytest.raises(AlreadyAccepted):
        await ports.journal.accept(event)
    assert await ports.journal.accepted(completion_id) == event


async def test_a_key_changes_only_from_the_revision_that_was_seen(ports: Ports) -> None:
    entry = KeyEntry(completion_id=new_completion_id(), body="b", created_at=NOON)
    assert await ports.keys.get("k") is None
    first = await ports.keys.set("k", entry, None)
    assert first is not None
    assert await ports.keys.set("k", entry, None) is None
    renewed = await ports.keys.set("k", entry, first)
    assert renewed is not None
    assert await ports.keys.set("k", entry, first) is None
    await ports.keys.release("k", first)
    assert await ports.keys.get("k") == (entry, renewed)
    await ports.keys.release("k", renewed)
    assert await ports.keys.get("k") is None
    assert await ports.keys.set("k", entry, None) is not None


async def test_a_tombstone_says_whether_somebody_asked(ports: Ports) -> None:
    asked, left = new_completion_id(), new_completion_id()
    await ports.tombstones.put(asked, asked=True)
    await ports.tombstones.put(asked)
    await ports.tombstones.put(left)
    marks = [await ports.marks.look(one) for one in (asked, left, new_completion_id())]
    assert marks == [Mark.ASKED, Mark.FORSAKEN, Mark.NONE]


async def test_a_noted_request_is_found_until_it_is_gone(ports: Ports) -> None:
    run = command(new_completion_id())
    assert await ports.notes.find(run.completion_id) is None
    number = await ports.queue.enqueue(run.to_bytes(), run.model, "a")
    await ports.notes.note(run.completion_id, number)

    async def found() -> bool:
        return await ports.notes.find(run.completion_id) is not None

    await eventually(found)
    assert await ports.notes.find(run.completion_id) == (number, run, False)
    assert await ports.notes.waits(run.completion_id)
    assert await ports.queue.withdraw(number, run.completion_id)
    assert await ports.notes.find(run.completion_id) is None
    assert not await ports.notes.waits(run.completion_id)


async def test_a_note_whose_number_is_anothers_by_now_finds_nothing(ports: Ports) -> None:
    if isinstance(ports.notes, FakeQueueNotes):
        pytest.skip("numbers in memory are never given anew")
    run, lost = command(new_completion_id()), new_completion_id()
    # A prompt may name any completion.
    said = Message(role="user", content=f'"completion_id":"{lost}"')
    run = run.model_copy(update={"messages": [said]})
    number = await ports.queue.enqueue(run.to_bytes(), run.model, "a")
    await ports.notes.note(lost, number)
    await ports.notes.note(run.completion_id, number)

    async def noted() -> bool:
        return await ports.notes.find(run.completion_id) is not None

    await eventually(noted)
    assert await ports.notes.find(lost) is None
    assert not await ports.notes.waits(lost)


async def test_what_was_just_accepted_is_young_by_the_brokers_clock(ports: Ports) -> None:
    accepted = CompletionAccepted(
        completion_id=new_completion_id(),
        user_id=UserId("local"),
        model="demo",
        # By a machine whose clock is years away.
        accepted_at=NOON - timedelta(days=2000),
        overdue_after_s=1,
        lane="b",
    )
    await ports.journal.accept(accepted)
    assert 0 <= await ports.notes.age(accepted) < 60.1


async def test_a_request_without_a_note_is_found_by_what_was_accepted(ports: Ports) -> None:
    run, other = command(new_completion_id()), command(new_completion_id())
    accepted = CompletionAccepted(
        completion_id=run.completion_id,
        user_id=UserId("local"),
        model="demo",
        accepted_at=NOON,
        overdue_after_s=1,
        reply_subject=run.reply_subject,
        lane="b",
    )
    await ports.queue.enqueue(other.to_bytes(), other.model, "b")
    await ports.journal.accept(accepted)
    assert await ports.notes.search(accepted) is None
    # A prompt may name any completion.
    naming = other.model_copy(
        update={"messages": [Message(role="user", content=run.completion_id)]}
    )
    await ports.queue.enqueue(naming.to_bytes(), naming.model, "b")
    assert await ports.notes.search(accepted) is None
    number = await ports.queue.enqueue(run.to_bytes(), run.model, "b")
    assert await ports.notes.search(accepted) == (number, run, False)
    assert not await ports.notes.begun(run.reply_subject)
    assert await ports.queue.withdraw(number, run.completion_id)
    assert await ports.notes.search(accepted) is None
