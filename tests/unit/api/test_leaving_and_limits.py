"""Whatever becomes of a request, its place among those that run at once is free again."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from services.api.limits.gcra import MINUTE, SECOND
from services.api.ports.broker import Heard
from services.api.ports.sessions import TurnState
from shared.contracts.chat import CompletionStatus, Usage
from shared.contracts.events import CompletionAccepted
from shared.contracts.history import CreateSession
from shared.contracts.ids import SessionId, UserId, new_session_id
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.limits import FakeMeters
from tests.fakes.api.ports import FakeTurns
from tests.fakes.api.visitor import Visitor, end_of, first_token, visiting
from tests.fakes.api.world import FakeWorld
from tests.support.waiting import eventually

USED = {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500}
one_at_once = partial(quick_settings, concurrent_requests=1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_leaves_frees_its_place_with_the_end_of_its_answer(
    stream: bool, begun: bool
) -> None:
    world, visitor = FakeWorld(), Visitor(stream=stream)
    if begun:
        world.queue.on_request = first_token(world)
    async with visiting(world, visitor, one_at_once()) as answering:
        await eventually(lambda: world.queue.requests)
        assert world.slots.held == 1
        visitor.leave.set()
        await asyncio.wait_for(answering, 1)
        await eventually(lambda: world.workers.cancelled)
        # The engine may still be at it.
        assert world.slots.held == 1
        end_of(world, CompletionStatus.CANCELLED)
        await eventually(lambda: world.slots.held == 0)


async def test_a_client_that_leaves_what_nobody_runs_frees_its_place_at_once() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.workers.heard = Heard.NOBODY
    async with visiting(world, visitor, one_at_once()):
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await eventually(lambda: world.slots.held == 0)


class Admission:
    """Stops a request between its lease and its queue."""

    def __init__(self, world: FakeWorld) -> None:
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()
        self._accept = world.journal.accept
        world.journal.accept = self._wait  # type: ignore[method-assign]

    async def _wait(self, event: CompletionAccepted) -> None:
        self.reached.set()
        await self.goes_on.wait()
        await self._accept(event)


@pytest.mark.parametrize("how", ["client leaves", "handler is cancelled"])
async def test_a_request_that_is_given_up_during_admission_frees_its_place(how: str) -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.workers.heard = Heard.NOBODY
    admission = Admission(world)
    async with visiting(world, visitor, one_at_once()) as answering:
        await admission.reached.wait()
        assert world.slots.held == 1
        if how == "client leaves":
            visitor.leave.set()
        else:
            answering.cancel()
        await asyncio.wait({answering}, timeout=1)
        assert answering.done()
        admission.goes_on.set()
        await eventually(lambda: world.journal.ends)
        await eventually(lambda: world.slots.held == 0)


async def test_a_handler_that_is_cancelled_while_it_waits_frees_its_place() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.workers.heard = Heard.NOBODY
    async with visiting(world, visitor, one_at_once()) as answering:
        await eventually(lambda: world.queue.requests)
        answering.cancel()
        await asyncio.wait({answering}, timeout=1)
        assert answering.cancelled()
        await eventually(lambda: world.slots.held == 0)


async def test_an_answer_in_its_grace_keeps_its_place_until_it_is_forsaken_and_over() -> None:
    world, session_id = FakeWorld(), new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    visitor = Visitor(sessionId=session_id)
    settings = one_at_once(resume_grace=timedelta(milliseconds=200))
    async with visiting(world, visitor, settings) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await answering
        assert world.slots.held == 1
        await eventually(lambda: world.workers.cancelled)
        assert world.slots.held == 1
        end_of(world, CompletionStatus.CANCELLED)
        await eventually(lambda: world.slots.held == 0)


async def test_an_answer_that_ends_in_its_grace_frees_its_place() -> None:
    world, session_id = FakeWorld(), new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    visitor = Visitor(sessionId=session_id)
    async with visiting(world, visitor, one_at_once()) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await answering
        end_of(world, CompletionStatus.COMPLETED)
        await eventually(lambda: world.slots.held == 0)


class Hesitant(FakeTurns):
    """The broker takes its time to write down that a session is free."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()
        self.goes_on.set()

    async def set(
        self, session_id: SessionId, state: TurnState, revision: int | None
    ) -> int | None:
        self.asked.set()
        await self.goes_on.wait()
        return await super().set(session_id, state, revision)


async def test_who_leaves_while_the_end_is_written_down_has_it_written_down() -> None:
    world, session_id = FakeWorld(), new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    world.turns = turns = Hesitant()
    visitor = Visitor(stream=True, sessionId=session_id)
    async with visiting(world, visitor, one_at_once(tokens_per_minute=1000)) as answering:
        await eventually(lambda: world.queue.requests)
        turns.asked.clear()
        turns.goes_on.clear()
        end_of(world, CompletionStatus.COMPLETED, Usage(**USED))
        await turns.asked.wait()
        answering.cancel()
        await asyncio.wait({answering}, timeout=1)
        assert answering.cancelled()
        turns.goes_on.set()
        # Else it would be renewed for ever.
        await eventually(lambda: turns.entries[session_id].state.running is None)
        assert world.slots.held == 0
        assert used(world.meters) == USED["total_tokens"]


def used(meters: FakeMeters) -> int:
    """Of a thousand a minute."""
    (held,) = meters.entries.values()
    return (held.readings["minute_tokens"] - int(NOON.timestamp()) * SECOND) * 1000 // MINUTE


@pytest.mark.parametrize("how", ["withdrawn", "never ran"])
async def test_the_tokens_of_what_no_engine_has_worked_on_are_given_back(how: str) -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    if how == "withdrawn":
        world.workers.heard = Heard.NOBODY
    async with visiting(world, visitor, quick_settings(tokens_per_minute=100)):
        await eventually(lambda: world.queue.requests)
        (before,) = world.meters.entries.values()
        visitor.leave.set()
        if how == "never ran":
            await eventually(lambda: world.workers.cancelled)
            end_of(world, CompletionStatus.CANCELLED)
        await eventually(lambda: list(world.meters.entries.values()) != [before])
        (after,) = world.meters.entries.values()
    now = int(NOON.timestamp()) * SECOND
    assert before.readings["minute_tokens"] > now
    assert after.readings["minute_tokens"] == now


async def test_a_stop_leaves_what_goes_on_elsewhere_to_the_end_of_its_lease() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    visitor.headers.append((b"x-stream-resume", b"true"))
    world.queue.on_request = first_token(world)
    async with visiting(world, visitor, one_at_once()) as answering:
        await eventually(lambda: visitor.got)
        world.drain.begin()
        await asyncio.wait_for(answering, 2)
        assert b"server_shutdown" in visitor.got
        assert world.slots.held == 1


async def test_a_lease_that_is_lost_ends_no_answer() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.queue.on_request = first_token(world)
    async with visiting(world, visitor, one_at_once()) as answering:
        await eventually(lambda: visitor.got)
        world.slots.lose_all()
        end_of(world, CompletionStatus.COMPLETED)
        await asyncio.wait_for(answering, 2)
    assert visitor.got.endswith(b"data: [DONE]\n\n")
