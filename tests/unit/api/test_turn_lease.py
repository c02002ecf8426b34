"""The lease on a session's turn."""

from datetime import timedelta

import pytest

from services.api.access.departures import Departures
from services.api.completions.orphans import Orphans
from services.api.completions.terminals import Terminals
from services.api.completions.turn_lease import TurnLeases
from services.api.completions.turn_states import Lease
from services.api.ports.broker import Heard
from services.api.ports.sessions import Held, TurnState
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.history import SessionHead
from shared.contracts.ids import (
    CompletionId,
    SessionId,
    UserId,
    new_completion_id,
    new_session_id,
)
from shared.contracts.user_purge import user_digest
from shared.errors import BrokerUnavailable, SessionBusy, SessionNotFound
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeJournal, FakeTurns
from tests.fakes.api.world import FakeWorld

USER = UserId("local")
IDLE = TurnState(user_id=USER)


async def test_of_two_who_saw_the_same_state_one_wins() -> None:
    turns, session = FakeTurns(), new_session_id()
    first, second = TurnLeases(turns, FakeJournal()), TurnLeases(turns, FakeJournal())
    seen = await first.look(session)
    await first.take(session, USER, new_completion_id(), seen)
    with pytest.raises(SessionBusy):
        await second.take(session, USER, new_completion_id(), seen)
    with pytest.raises(SessionBusy):
        await second.take(session, USER, new_completion_id(), await second.look(session))


async def test_a_released_session_can_be_taken_and_knows_its_last_completion() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    await leases.renew()
    await leases.release(lease, TurnState(user_id=USER, last=completion))
    held = await leases.look(session)
    assert held is not None
    again = await leases.take(session, USER, new_completion_id(), held)
    assert again.state.last == completion


async def test_a_lease_that_ran_out_while_the_broker_was_away_is_taken_again() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    turns.away = True
    await leases.renew()
    turns.away = False
    del turns.entries[session]
    await leases.renew()
    assert turns.entries[session].state.running == completion
    await leases.release(lease, IDLE)
    assert turns.entries[session].state.running is None


async def test_a_lease_that_somebody_else_has_is_left_alone() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    lease = await leases.take(session, USER, new_completion_id(), None)
    del turns.entries[session]
    other = await TurnLeases(turns, FakeJournal()).take(session, USER, new_completion_id(), None)
    await leases.renew()
    await leases.release(lease, IDLE)
    assert turns.entries[session].state == other.state


async def test_a_release_that_fails_can_be_made_again() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    lease = await leases.take(session, USER, new_completion_id(), None)
    turns.away = True
    with pytest.raises(BrokerUnavailable):
        await leases.release(lease, IDLE)
    turns.away = False
    await leases.release_patiently(lease, IDLE)
    assert turns.entries[session].state == IDLE


def ended(completion_id: CompletionId, status: CompletionStatus) -> CompletionCompleted:
    return CompletionCompleted(
        completion_id=completion_id,
        user_id=USER,
        model="demo",
        status=status,
        created_at=NOON,
        completed_at=NOON,
    )


def taken_on(completion_id: CompletionId) -> CompletionAccepted:
    return CompletionAccepted(
        completion_id=completion_id,
        user_id=USER,
        model="demo",
        accepted_at=NOON,
        overdue_after_s=1,
    )


async def orphan(age: float) -> tuple[FakeJournal, TurnLeases, SessionId, CompletionId]:
    """A turn whose gateway has died, as another gateway finds it after ``age`` seconds."""
    turns, journal, session = FakeTurns(), FakeJournal(), new_session_id()
    completion = new_completion_id()
    await TurnLeases(turns, journal).take(session, USER, completion, None)
    turns.age = age
    return journal, TurnLeases(turns, journal), session, completion


async def test_a_session_stays_busy_while_the_turn_of_a_dead_gateway_goes_on() -> None:
    journal, leases, session, completion = await orphan(60)
    await journal.accept(taken_on(completion))
    seen = await leases.look(session)
    assert seen is not None
    assert seen.state.running == completion
    with pytest.raises(SessionBusy):
        await leases.take(session, USER, new_completion_id(), seen)
    await journal.complete(ended(completion, CompletionStatus.COMPLETED))
    seen = await leases.look(session)
    assert seen is not None
    assert (seen.state.running, seen.state.last) == (None, completion)
    again = await leases.take(session, USER, new_completion_id(), seen)
    assert again.state.last == completion


async def test_the_end_of_the_turn_frees_its_session_however_lately_its_gateway_died() -> None:
    journal, leases, session, completion = await orphan(0)
    await journal.accept(taken_on(completion))
    seen = await leases.look(session)
    assert seen is not None
    assert seen.state.running == completion
    await journal.complete(ended(completion, CompletionStatus.COMPLETED))
    seen = await leases.look(session)
    assert seen is not None
    again = await leases.take(session, USER, new_completion_id(), seen)
    assert again.state.last == completion


async def test_a_turn_that_was_never_taken_on_frees_its_session_soon() -> None:
    _, leases, session, completion = await orphan(13)
    seen = await leases.look(session)
    assert seen is not None
    assert seen.state.running == completion
    _, leases, session, _ = await orphan(16)
    seen = await leases.look(session)
    assert seen is not None
    assert seen.state.running is None


async def test_an_entry_that_was_lost_is_written_again_by_the_end() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    turns.entries.clear()
    assert await leases.release(lease, TurnState(user_id=USER, last=completion))
    assert turns.entries[session].state.last == completion


async def test_who_looks_at_an_old_answer_does_not_hold_its_session() -> None:
    journal, session, completion = FakeJournal(), new_session_id(), new_completion_id()
    await journal.complete(ended(completion, CompletionStatus.COMPLETED))
    assert await TurnLeases(FakeTurns(), journal).adopt(session, USER, completion) is None


async def test_nothing_begins_in_a_session_that_is_being_deleted() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    seen = await leases.look(session)
    await leases.mark(session, USER, deleted=True)
    for known in (seen, await leases.look(session)):
        with pytest.raises(SessionNotFound):
            await leases.take(session, USER, new_completion_id(), known)
    # Long after, history alone says whether there is one.
    turns.age = 60
    await leases.take(session, USER, new_completion_id(), await leases.look(session))


async def test_a_turn_that_ends_in_a_deleted_session_does_not_bring_it_back() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns, FakeJournal())
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    marked = await leases.mark(session, USER, deleted=True)
    assert marked.running == completion
    await leases.renew()
    head = SessionHead(turn=1, titled=True)
    await leases.release(lease, TurnState(user_id=USER, last=completion, head=head))
    state = turns.entries[session].state
    assert (state.deleted, state.head, state.last) == (True, None, completion)


@pytest.mark.parametrize(
    ("age", "known_by", "frees"),
    [
        (16, "nobody", True),
        (13, "nobody", False),
        (16, "its note", False),
        (16, "the queue alone", False),
        (16, "its frames", False),
        (16, "its worker", False),
        (16, "a broker that is away", False),
        (16, "the broker to be young", False),
    ],
)
async def test_a_turn_that_nobody_has_is_ended_by_who_finds_its_session_held(
    age: float, known_by: str, frees: bool
) -> None:
    world, session, completion = FakeWorld(), new_session_id(), new_completion_id()
    await TurnLeases(world.turns, world.journal).take(session, USER, completion, None)
    reply = world.mailboxes.reply_subject(completion)
    await world.journal.accept(taken_on(completion).model_copy(update={"reply_subject": reply}))
    world.turns.age = age
    world.workers.heard = Heard.YES if known_by == "its worker" else Heard.NOBODY
    if known_by in ("its note", "the queue alone"):
        run = RunCompletion(
            completion_id=completion, reply_subject=reply, user_id=USER, model="demo:latest",
            display_model="demo", created_at=NOON, messages=[],
            generating_deadline=timedelta(seconds=1),
        )  # fmt: skip
        number = await world.queue.enqueue(run.to_bytes(), "demo", "a")
        if known_by == "its note":
            await world.notes.note(completion, number)
    if known_by == "its frames":
        world.notes.answered.add(completion)
    if known_by == "the broker to be young":
        # This gateway's clock is ahead: the other one is about to queue it.
        world.notes.ages[completion] = 1
    if known_by == "a broker that is away":
        world.notes.away = True
    terminals = Terminals(
        world.journal, world.announcements, world.background, world.clock, patience=1
    )
    orphans = Orphans(world.notes, world.workers, terminals)

    seen = await TurnLeases(world.turns, world.journal, orphans).look(session)

    assert seen is not None
    end = world.journal.ends.get(completion)
    assert (seen.state.running is None) == frees
    assert (end is not None) == frees
    if end is not None:
        assert (end.status, end.error is not None and end.error.code) == (
            CompletionStatus.FAILED,
            "worker_lost",
        )
        assert seen.state.last == completion
        assert world.announcements.ends == [end]


class Leaving:
    """A turn that runs when everything of its user begins to be removed."""

    def __init__(self) -> None:
        self.turns, self.session = FakeTurns(), new_session_id()
        self.completion, self.departures = new_completion_id(), Departures()
        self.leases = TurnLeases(self.turns, FakeJournal(), gone=self.departures.departing)
        self.departures.call_when_begun(self.leases.user_gone)

    async def take(self) -> Lease:
        return await self.leases.take(self.session, USER, self.completion, None)

    def go(self, *, under_way: bool = True) -> None:
        self.departures.hear(user_digest(USER), under_way=under_way)
        if under_way:
            # As the removal does.
            self.turns.entries.clear()


async def test_nothing_is_written_for_a_user_who_goes_whatever_was_running() -> None:
    scene = Leaving()
    lease = await scene.take()
    other = UserId("other")
    scene.go()
    kept = await scene.leases.take(new_session_id(), other, new_completion_id(), None)
    await scene.leases.renew()
    assert not await scene.leases.release(lease, IDLE)
    assert set(scene.turns.entries) == {kept.session_id}
    # When it is over too: the worker says its end late.
    scene.go(under_way=False)
    await scene.leases.renew()
    assert not await scene.leases.release_patiently(lease, IDLE)
    assert set(scene.turns.entries) == {kept.session_id}


async def test_a_turn_that_ends_after_its_user_has_gone_and_come_back_leaves_no_place() -> None:
    scene = Leaving()
    lease = await scene.take()
    scene.go()
    # No renewal meanwhile.
    scene.go(under_way=False)
    await scene.leases.renew()
    assert not await scene.leases.release(lease, IDLE)
    assert scene.turns.entries == {}


async def test_a_session_that_is_taken_while_its_user_goes_is_neither_renewed_nor_released() -> (
    None
):
    scene = Leaving()
    scene.go()
    lease = await scene.take()
    scene.go()
    await scene.leases.renew()
    scene.go(under_way=False)
    await scene.leases.renew()
    assert not await scene.leases.release(lease, IDLE)
    assert scene.turns.entries == {}


async def test_a_write_that_is_under_way_when_its_user_goes_is_not_tried_again() -> None:
    scene = Leaving()
    lease = await scene.take()

    class Slow(FakeTurns):
        """The removal comes between the two halves of a change that has missed."""

        async def get(self, session_id: SessionId) -> Held | None:
            held = await super().get(session_id)
            scene.go()
            return held

    slow = Slow()
    leases = TurnLeases(slow, FakeJournal(), gone=scene.departures.departing)
    lease = await leases.take(scene.session, USER, scene.completion, None)
    slow.entries.clear()
    await leases.renew()
    assert not await leases.release(lease, IDLE)
    assert slow.entries == {}
