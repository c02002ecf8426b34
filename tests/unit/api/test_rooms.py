"""Rooms: what sockets of a session are shown when announcements are lost, doubled or refused."""

import asyncio
import json
from typing import Any

import pytest

from services.api.completions.draining import Drain
from services.api.completions.orders import Order
from services.api.completions.turn_lease import TurnLeases
from services.api.ports.sessions import TurnState
from services.api.sessions.turns import Wanted
from services.api.sockets.outlet import NO_SESSION, RESTART, Outlet
from services.api.sockets.room import Room
from services.api.sockets.rooms import Rooms
from services.api.streams.watching import Watching
from services.api.wiring import build_state
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted, NewMessage, NewTurn
from shared.contracts.history import CreateSession, DeleteSession, SessionSettings
from shared.contracts.ids import (
    CompletionId,
    SessionId,
    UserId,
    message_id,
    new_completion_id,
    new_session_id,
)
from shared.contracts.live import HISTORY, LiveEvent
from shared.errors import SessionBusy, SessionNotFound
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld
from tests.support.waiting import eventually

USER = UserId("local")
WHOLE = ["user_message", "ai_typing", "ai_message_chunk", "ai_message_complete"]


class Scene:
    """One gateway in memory, and a session with one socket."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.session: SessionId = new_session_id()
        self.got: list[dict[str, Any]] = []
        self.rooms: Rooms
        self.room: Room
        self.outlet = Outlet("me", full=False, clock=self.world.clock.monotonic)

    async def begin(self) -> None:
        settings = quick_settings()
        async with self.world.open(settings) as opened:
            watching = Watching(opened.watchers, opened.clock, grace=1)
            leases = TurnLeases(opened.turns, opened.journal)
            state = build_state(settings, opened, leases, watching, Drain())
        self.rooms = state["rooms"]
        await self.world.history.create_session(
            CreateSession(user_id=USER, session_id=self.session)
        )
        self.room = await self.rooms.enter(USER, self.session)
        self.room.enter(self.outlet, join=True)

    async def turn(
        self,
        status: CompletionStatus = CompletionStatus.COMPLETED,
        *,
        number: int = 1,
        text: str | None = None,
    ) -> CompletionId:
        """Somebody's whole turn, of which nothing was heard here."""
        if text is None:
            text = "because" if status is CompletionStatus.COMPLETED else ""
        completion_id = new_completion_id()
        question = NewMessage(
            id=message_id(completion_id, "user"),
            depth=1,
            message=Message(role="user", content="why?"),
        )
        place = AnswerPlace(
            session_id=self.session,
            message_id=message_id(completion_id, "assistant"),
            parent_id=question.id,
            depth=2,
            turn=number,
        )
        await self.world.journal.accept(
            CompletionAccepted(
                completion_id=completion_id,
                user_id=USER,
                model="demo",
                accepted_at=NOON,
                overdue_after_s=1,
                turn=NewTurn(session_id=self.session, turn=number, messages=[question]),
                place=place,
            )
        )
        await self.world.journal.complete(
            CompletionCompleted(
                completion_id=completion_id,
                user_id=USER,
                model="demo",
                status=status,
                created_at=NOON,
                completed_at=NOON,
                text=text,
                events=1 if text else 0,
                place=place,
            )
        )
        return completion_id

    async def stands(self, **state: CompletionId) -> None:
        held = await self.world.turns.get(self.session)
        revision = held.revision if held is not None else None
        changed = TurnState(user_id=USER, **state)
        assert await self.world.turns.set(self.session, changed, revision) is not None

    async def say(
        self,
        kind: str,
        completion_id: CompletionId | None,
        *,
        by: str = "other/socket",
        **more: int,
    ) -> None:
        """Another gateway announces it, or history does."""
        event = {"type": kind, "session_id": self.session, "origin": by}
        live = LiveEvent.model_validate({**event, "completion_id": completion_id, **more})
        await self.world.live.say(USER, live)

    async def sees(self, count: int) -> list[str]:
        async def enough() -> bool:
            self.got += [json.loads(text) for text in await self.outlet.take(0)]
            return len(self.got) >= count

        await eventually(enough)
        return [message["type"] for message in self.got]


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.begin()
    return made


@pytest.mark.parametrize("what", ["last", "running"])
async def test_a_turn_that_was_missed_is_shown_once_the_broker_is_back(
    scene: Scene, what: str
) -> None:
    missed = await scene.turn()
    await scene.stands(**{what: missed})
    for _ in range(3):
        scene.world.live.missed[0]()
    assert await scene.sees(4) == WHOLE
    assert scene.got[2]["content"] == "because"
    # And what comes next is shown after it, so nothing was doubled meanwhile.
    await scene.stands(last=await scene.turn())
    scene.world.live.missed[0]()
    assert await scene.sees(8) == WHOLE * 2


async def test_what_was_over_before_anybody_came_is_not_shown(scene: Scene) -> None:
    old = await scene.turn()
    await scene.stands(last=old)
    await scene.rooms.leave(scene.room, scene.outlet)
    scene.room = await scene.rooms.enter(USER, scene.session)
    scene.room.enter(scene.outlet, join=True)
    await scene.stands(last=old, running=await scene.turn())
    scene.world.live.missed[0]()
    await scene.sees(4)
    await scene.stands(last=old, running=await scene.turn())
    scene.world.live.missed[0]()
    assert await scene.sees(8) == WHOLE * 2
    assert old not in [message.get("completion_id") for message in scene.got]


async def test_messages_that_are_refused_do_not_bring_an_old_turn_back(scene: Scene) -> None:
    shown = await scene.turn()
    await scene.stands(last=shown)
    scene.world.live.missed[0]()
    await scene.sees(4)

    async def busy(_wanted: Wanted) -> Order:
        raise SessionBusy("busy")

    for _ in range(100):
        scene.rooms.ask(scene.room, scene.outlet, busy, SessionSettings())
    await scene.sees(104)
    await scene.stands(last=shown, running=await scene.turn())
    scene.world.live.missed[0]()
    assert await scene.sees(108) == [*WHOLE, *["error"] * 100, *WHOLE]
    assert [message.get("completion_id") for message in scene.got].count(shown) == len(WHOLE)


async def test_a_question_that_another_gateway_could_not_queue_is_taken_back(scene: Scene) -> None:
    refused = await scene.turn(CompletionStatus.REJECTED)
    await scene.world.live.say(
        USER,
        LiveEvent(
            type="turn_started", session_id=scene.session, origin="other", completion_id=refused
        ),
    )
    assert await scene.sees(3) == ["user_message", "ai_typing", "message_rejected"]
    assert scene.got[2] == {
        "type": "message_rejected",
        "message_id": scene.got[0]["message"]["id"],
        "completion_id": refused,
    }


async def test_a_question_that_was_refused_unheard_is_never_shown(scene: Scene) -> None:
    await scene.stands(running=await scene.turn(CompletionStatus.REJECTED))
    scene.world.live.missed[0]()
    await scene.stands(last=await scene.turn())
    scene.world.live.missed[0]()
    assert await scene.sees(4) == WHOLE


async def test_an_answer_is_said_again_to_one_socket_and_only_if_it_is_of_its_session(
    scene: Scene,
) -> None:
    mine = await scene.turn()
    scene.rooms.resume(scene.room, scene.outlet, mine, -1)
    assert await scene.sees(2) == ["ai_message_chunk", "ai_message_complete"]
    scene.session = new_session_id()
    foreign = await scene.turn()
    scene.rooms.resume(scene.room, scene.outlet, foreign, -1)
    await scene.sees(3)
    assert scene.got[-1]["code"] == "completion_not_found"


async def test_the_last_to_leave_closes_the_room(scene: Scene) -> None:
    again = await scene.rooms.enter(USER, scene.session)
    assert again is scene.room
    await scene.rooms.leave(again, None)
    assert len(scene.world.live.ears) == 1
    await scene.rooms.leave(scene.room, scene.outlet)
    assert scene.world.live.ears == []
    assert await scene.rooms.enter(USER, scene.session) is not scene.room


async def test_of_many_who_ask_at_once_one_is_planned_and_the_others_hear_whose_turn_it_is(
    scene: Scene,
) -> None:
    planned: list[CompletionId] = []
    go_on = asyncio.Event()

    async def plan(wanted: Wanted) -> Order:
        planned.append(wanted.completion_id)
        await go_on.wait()
        raise SessionBusy("busy")

    for _ in range(200):
        scene.rooms.ask(scene.room, scene.outlet, plan, SessionSettings())
    await scene.sees(199)
    await eventually(lambda: planned)
    assert {message["code"] for message in scene.got} == {"session_busy"}
    assert {message["completion_id"] for message in scene.got} == set(planned)
    assert len(planned) == 1
    go_on.set()
    await scene.sees(200)
    # Nothing is known of who is busy, and nobody could name what was refused.
    assert "completion_id" not in scene.got[-1]


async def test_a_turn_that_is_announced_while_it_is_asked_for_here_is_shown_once(
    scene: Scene,
) -> None:
    asked: list[CompletionId] = []

    async def plan(wanted: Wanted) -> Order:
        asked.append(wanted.completion_id)
        for _ in range(100):
            await scene.say("turn_started", new_completion_id())
        await scene.say("turn_started", wanted.completion_id)
        raise SessionBusy("busy")

    scene.rooms.ask(scene.room, scene.outlet, plan, SessionSettings())
    await eventually(lambda: asked)
    await scene.sees(1)
    assert asked[0] not in [message.get("completion_id") for message in scene.got]


async def test_a_session_that_was_deleted_while_nothing_was_heard_closes_its_sockets(
    scene: Scene,
) -> None:
    del scene.world.history.sessions[scene.session]
    scene.world.live.missed[0]()
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == NO_SESSION
    await scene.sees(1)
    assert (scene.got[0]["type"], scene.got[0]["code"]) == ("error", "session_not_found")


async def test_a_message_that_finds_its_session_gone_closes_the_sockets(scene: Scene) -> None:
    async def plan(wanted: Wanted) -> Order:
        raise SessionNotFound("This session does not exist.", param="session_id")

    scene.rooms.ask(scene.room, scene.outlet, plan, SessionSettings())
    await scene.sees(1)
    # It is looked for first: a gateway may only be about to delete it.
    await scene.world.background.aclose(5)
    assert scene.outlet.close_code is None

    del scene.world.history.sessions[scene.session]
    scene.rooms.ask(scene.room, scene.outlet, plan, SessionSettings())
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == NO_SESSION


async def test_a_deletion_is_also_for_who_is_just_being_let_in(scene: Scene) -> None:
    coming = Outlet("late", full=False, clock=scene.world.clock.monotonic)
    scene.room.audience.expect(coming)
    await scene.say("session_deleted", None, by=HISTORY)
    assert coming.close_code == NO_SESSION


async def test_who_deletes_once_more_closes_no_socket_of_what_is_back(scene: Scene) -> None:
    history = scene.world.history
    asked = len(history.waited_for)
    await scene.say("session_deleted", None)
    await eventually(lambda: len(history.waited_for) > asked)
    await history.delete_session(DeleteSession(user_id=USER, session_id=scene.session))
    assert scene.outlet.close_code is None

    await scene.say("session_deleted", None)
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == NO_SESSION


async def test_who_cannot_ask_history_shows_what_was_missed_and_keeps_its_sockets(
    scene: Scene,
) -> None:
    scene.world.history.away = True
    await scene.stands(last=await scene.turn())
    scene.world.live.missed[0]()
    assert await scene.sees(4) == WHOLE
    assert scene.outlet.close_code is None


async def test_a_gap_of_which_only_the_last_turn_is_known_sends_everybody_to_look_again(
    scene: Scene,
) -> None:
    await scene.stands(last=await scene.turn(number=1))
    scene.world.live.missed[0]()
    await scene.sees(4)
    await scene.stands(last=await scene.turn(number=2))
    scene.world.live.missed[0]()
    await scene.sees(8)
    assert scene.outlet.close_code is None
    await scene.turn(number=3)
    await scene.stands(last=await scene.turn(number=4))
    scene.world.live.missed[0]()
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == RESTART


async def test_turns_of_before_the_first_socket_are_no_gap(scene: Scene) -> None:
    await scene.stands(last=await scene.turn(number=6))
    await scene.rooms.leave(scene.room, scene.outlet)
    scene.room = await scene.rooms.enter(USER, scene.session)
    scene.room.enter(scene.outlet, join=True)
    await scene.stands(last=await scene.turn(number=7))
    scene.world.live.missed[0]()
    assert await scene.sees(4) == WHOLE
    assert scene.outlet.close_code is None


async def test_a_place_in_the_queue_is_told_after_the_question_whatever_is_heard_first(
    scene: Scene,
) -> None:
    completion_id = await scene.turn()
    await scene.say("queued", completion_id, position=3, estimated_wait_ms=1500)
    await scene.say("turn_started", completion_id)
    assert await scene.sees(5) == [*WHOLE[:2], "queued", *WHOLE[2:]]
    assert (scene.got[2]["position"], scene.got[2]["estimated_wait_ms"]) == (3, 1500)
    await scene.say("queued", completion_id, position=2)
    await scene.say("typing", None)
    assert (await scene.sees(6))[5] == "typing"


async def test_what_was_said_of_an_answer_that_failed_is_told_with_its_error(scene: Scene) -> None:
    failed = await scene.turn(CompletionStatus.FAILED, text="as far as I ")
    await scene.say("turn_started", failed)
    await scene.sees(4)
    error = scene.got[-1]
    assert (error["type"], error["completion_id"]) == ("error", failed)
    assert error["ai_message"]["content"] == "as far as I "
    assert error["ai_message"]["status"] == "failed"


async def test_the_sign_of_thinking_names_the_answer_and_what_it_answers(scene: Scene) -> None:
    await scene.say("turn_started", await scene.turn())
    await scene.sees(4)
    question, thinking, _, complete = scene.got
    assert thinking["parent_id"] == question["message"]["id"] == complete["message"]["parent_id"]
    assert thinking["message_id"] == complete["message"]["id"]


async def test_an_answer_that_is_said_again_while_it_is_shown_is_said_and_ended_once(
    scene: Scene,
) -> None:
    mine = await scene.turn()
    scene.rooms.resume(scene.room, scene.outlet, mine, -1)
    await scene.say("turn_started", mine)
    await scene.sees(4)
    await scene.say("turn_started", await scene.turn(number=2))
    await scene.sees(8)
    about_mine = [m["type"] for m in scene.got if m.get("completion_id") == mine]
    assert sorted(about_mine) == sorted(WHOLE)


async def test_what_is_about_to_be_asked_for_can_be_resumed_already(scene: Scene) -> None:
    expected: list[CompletionId] = []
    go_on = asyncio.Event()

    async def plan(wanted: Wanted) -> Order:
        expected.append(wanted.completion_id)
        await go_on.wait()
        raise SessionBusy("busy")

    scene.rooms.ask(scene.room, scene.outlet, plan, SessionSettings())
    await eventually(lambda: expected)
    scene.rooms.resume(scene.room, scene.outlet, expected[0], -1)
    go_on.set()
    await scene.sees(1)
    assert [message["code"] for message in scene.got] == ["session_busy"]


async def test_a_turn_that_was_rejected_hides_no_gap(scene: Scene) -> None:
    await scene.say("turn_started", await scene.turn(CompletionStatus.REJECTED, number=1))
    await scene.sees(3)
    await scene.turn(number=1)
    await scene.stands(last=await scene.turn(number=2))
    scene.world.live.missed[0]()
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == RESTART


async def test_a_deletion_is_noticed_once_history_is_back(scene: Scene) -> None:
    scene.world.history.away = True
    scene.world.live.missed[0]()
    del scene.world.history.sessions[scene.session]
    assert scene.outlet.close_code is None
    scene.world.history.away = False
    await eventually(lambda: scene.outlet.close_code)
    assert scene.outlet.close_code == NO_SESSION
