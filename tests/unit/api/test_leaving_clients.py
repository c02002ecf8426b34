"""Clients that leave, dawdle or are outlived, seen from the ASGI side."""

import asyncio
import json
from datetime import timedelta

import pytest
from starlette.types import Message

from services.api.ports.broker import Heard
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.history import CreateSession, SessionHead, SessionHeadQuery
from shared.contracts.ids import UserId, new_session_id
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.visitor import Visitor, end_of, first_token, visiting
from tests.fakes.api.world import FakeWorld, app_of
from tests.support.waiting import eventually


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("begun", [True, False])
async def test_leaving_cancels_at_once(stream: bool, begun: bool) -> None:
    world, visitor = FakeWorld(), Visitor(stream=stream)
    if begun:
        world.queue.on_request = first_token(world)
    async with visiting(world, visitor) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await asyncio.wait_for(answering, 1)
        await eventually(lambda: world.workers.cancelled)
        assert world.tombstones.marked == world.workers.cancelled


async def test_leaving_in_the_middle_of_the_body_asks_for_nothing() -> None:
    world, visitor = FakeWorld(), Visitor()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async with app_of(world, quick_settings()) as app:
        await app(visitor.scope, receive, visitor.send)
    assert visitor.status == 0
    assert world.journal.accepted_events == []


async def test_an_answer_that_has_begun_unheard_does_not_expire() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.queue.on_request = lambda command: world.notes.answered.add(command.completion_id)
    settings = quick_settings(waiting_deadline=timedelta(milliseconds=100))
    async with visiting(world, visitor, settings) as answering:
        await eventually(lambda: world.queue.requests)
        # Its deadline has come.
        await eventually(lambda: world.notes.looks)
        assert world.journal.ends == {}
        end_of(world, CompletionStatus.COMPLETED)
        await asyncio.wait_for(answering, 2)
    assert visitor.got.endswith(b"data: [DONE]\n\n")


async def test_a_request_that_nobody_runs_is_withdrawn_and_its_end_is_ours() -> None:
    world, visitor = FakeWorld(), Visitor()
    world.workers.heard = Heard.NOBODY
    async with visiting(world, visitor) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await answering
        await eventually(lambda: world.journal.ends)
    (end,) = world.journal.ends.values()
    assert end.status is CompletionStatus.CANCELLED
    assert world.mailboxes.boxes == {}


async def test_leaving_during_admission_cancels_what_was_admitted() -> None:
    world, visitor = FakeWorld(), Visitor()
    admission = asyncio.Event()
    accept = world.journal.accept

    async def slow(event: CompletionAccepted) -> None:
        visitor.leave.set()
        await admission.wait()
        await accept(event)

    world.journal.accept = slow  # type: ignore[method-assign]
    async with visiting(world, visitor) as answering:
        await asyncio.wait_for(answering, 1)
        assert world.queue.requests == {}
        admission.set()
        await eventually(lambda: world.workers.cancelled)


async def test_a_cancel_is_retried_while_the_broker_is_away() -> None:
    world, visitor = FakeWorld(), Visitor()
    world.tombstones.failures = 2
    async with visiting(world, visitor) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await answering
        await eventually(lambda: world.workers.cancelled)


async def test_a_refused_turn_frees_its_session_at_once() -> None:
    world = FakeWorld()
    session_id = new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    world.queue.full = True
    visitor = Visitor(sessionId=session_id)
    async with visiting(world, visitor) as answering:
        await answering
        assert visitor.status == 429
        assert world.turns.entries[session_id].state.running is None


async def test_a_turn_that_has_no_place_leaves_its_session_free() -> None:
    world = FakeWorld()
    session_id = new_session_id()

    async def wrong(query: SessionHeadQuery) -> SessionHead:
        return SessionHead.model_construct(turn=-5, leaf=None, last_user=None, titled=True)

    world.history.session_head = wrong  # type: ignore[method-assign]
    visitor = Visitor(sessionId=session_id)
    async with visiting(world, visitor) as answering:
        await answering
    assert visitor.status == 500
    assert world.turns.entries == {}


async def test_a_session_stays_busy_until_the_abandoned_turn_has_ended() -> None:
    world = FakeWorld()
    session_id = new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    visitor = Visitor(sessionId=session_id)
    settings = quick_settings(resume_grace=timedelta(milliseconds=100))
    async with visiting(world, visitor, settings) as answering:
        await eventually(lambda: world.queue.requests)
        visitor.leave.set()
        await answering
        await eventually(lambda: world.workers.cancelled)
        assert world.turns.entries[session_id].state.running is not None
        end_of(world, CompletionStatus.CANCELLED)
        await eventually(lambda: world.turns.entries[session_id].state.running is None)
    assert world.turns.entries[session_id].state.last is not None


async def test_leaving_after_the_last_chunk_cancels_nothing() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.answer("all")
    async with visiting(world, visitor) as answering:
        await answering
        visitor.leave.set()
    assert visitor.over
    assert visitor.got.endswith(b"data: [DONE]\n\n")
    assert world.tombstones.marked == []


async def test_a_client_that_takes_nothing_is_given_up_and_cancelled() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    world.queue.on_request = first_token(world)
    visitor.takes.clear()
    settings = quick_settings(send_timeout=timedelta(milliseconds=100))
    async with visiting(world, visitor, settings) as answering:
        await asyncio.wait_for(answering, 2)
        await eventually(lambda: world.workers.cancelled)
    assert not visitor.over


async def test_headers_wait_for_the_first_content_only_so_long() -> None:
    world, visitor = FakeWorld(), Visitor(stream=True)
    settings = quick_settings(header_hold=timedelta(milliseconds=50))
    async with visiting(world, visitor, settings) as answering:
        await eventually(lambda: world.queue.requests)
        assert visitor.status == 0
        await eventually(lambda: visitor.got == b": ping\n\n")
        assert visitor.status == 200
        end_of(world, CompletionStatus.FAILED)
        await answering
    assert b'"code":"worker_lost"' in visitor.got
    assert visitor.got.endswith(b"data: [DONE]\n\n")


async def test_nothing_hangs_for_ever_and_no_session_stays_busy_for_ever() -> None:
    world = FakeWorld()
    session_id = new_session_id()
    await world.history.create_session(
        CreateSession(user_id=UserId("local"), session_id=session_id)
    )
    visitor = Visitor(stream=True, sessionId=session_id)
    world.queue.on_request = first_token(world)
    async with visiting(world, visitor) as answering:
        await eventually(lambda: visitor.got)
        running_for_ever = asyncio.get_running_loop().time() + 3600
        world.clock.monotonic = lambda: running_for_ever  # type: ignore[method-assign]
        (box,) = world.mailboxes.boxes.values()
        box.wake()
        await asyncio.wait_for(answering, 2)
        await eventually(lambda: world.turns.entries[session_id].state.running is None)
    assert b'"code":"deadline_exceeded"' in visitor.got
    assert visitor.got.endswith(b"data: [DONE]\n\n")


async def test_a_users_third_unfinished_completion_takes_the_other_lane() -> None:
    world = FakeWorld()
    visitors = [Visitor(stream=True) for _ in range(4)]
    async with app_of(world, quick_settings()) as app:
        calls: list[asyncio.Task[None]] = [
            asyncio.create_task(app(v.scope, v.receive, v.send))  # type: ignore[arg-type]
            for v in visitors
        ]
        await eventually(lambda: len(world.queue.lanes) == 4)
        assert sorted(world.queue.lanes) == ["a", "a", "b", "b"]
        for visitor in visitors:
            visitor.leave.set()
        await asyncio.gather(*calls)


class Chatterbox(Visitor):
    """A client for whom the worker has another token whenever it has taken one."""

    def __init__(self, world: FakeWorld) -> None:
        super().__init__(stream=True)
        self._world = world
        self._tokens = 1

    async def send(self, message: Message) -> None:
        await super().send(message)
        await asyncio.sleep(0)
        for box in self._world.mailboxes.boxes.values():
            body = b'data: {"choices":[]}\n\n'
            box.put(Frame(FrameKind.TOKENS, 1, self._tokens, 1, 1, 1, 0, body))
        self._tokens += 1


async def test_a_stop_that_cannot_wait_ends_even_a_stream_that_never_pauses() -> None:
    world = FakeWorld()
    visitor = Chatterbox(world)
    world.queue.on_request = first_token(world)
    async with visiting(world, visitor) as answering:
        await eventually(lambda: visitor.got)
        world.drain.begin()
        world.drain.cut_short()
        await asyncio.wait_for(answering, 2)
    assert b'"code":"server_shutdown"' in visitor.got
    assert visitor.got.endswith(b"data: [DONE]\n\n")


async def test_a_body_that_stops_coming_is_408_and_the_end_of_the_connection() -> None:
    world, visitor = FakeWorld(), Visitor()
    headers: list[tuple[bytes, bytes]] = []

    async def receive() -> Message:
        if not headers:
            headers.append((b"asked", b""))
            return {"type": "http.request", "body": b'{"model"', "more_body": True}
        await visitor.leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        headers.extend(message.get("headers", ()))
        await visitor.send(message)

    settings = quick_settings(body_timeout=timedelta(milliseconds=50))
    async with app_of(world, settings) as app:
        await asyncio.wait_for(app(visitor.scope, receive, send), 2)
    assert visitor.status == 408
    assert json.loads(visitor.got)["error"]["code"] == "request_timeout"
    assert (b"connection", b"close") in headers
    assert world.journal.accepted_events == []
