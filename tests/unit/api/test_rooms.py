"""Rooms: what sockets of a session are shown when announcements are lost, doubled or refused."""

import json
from typing import Any

import pytest

from services.api.completions.draining import Drain
from services.api.completions.orders import Order
from services.api.completions.turn_lease import TurnLeases
from services.api.ports.sessions import TurnState
from services.api.sessions.turns import Wanted
from services.api.sockets.outlet import Outlet
from services.api.sockets.room import Room
from services.api.sockets.rooms import Rooms
from services.api.streams.watching import Watching
from services.api.wiring import build_state
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted, NewMessage, NewTurn
from shared.contracts.history import SessionSettings
from shared.contracts.ids import (
    CompletionId,
    SessionId,
    UserId,
    message_id,
    new_completion_id,
    new_session_id,
)
from shared.contracts.live import LiveEvent
from shared.errors import SessionBusy
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
        self.room = await self.rooms.enter(USER, self.session)
        self.room.enter(self.outlet, join=True)

    async def turn(self, status: CompletionStatus = CompletionStatus.COMPLETED) -> CompletionId:
        """Somebody's whole turn, of which nothing was heard here."""
        completion_id = new_completion_id()
        question = NewMessage(
            id=message_id(completion_id, "user"),
            depth=1,
            message=Message(role="user", content="why?"),
        )
        place = AnswerPlace(
            session_id=self.session,
            message_id=message_id(completion_id, "assistant"),
            depth=2,
            turn=1,
        )
        await self.world.journal.accept(
            CompletionAccepted(
                completion_id=completion_id,
                user_id=USER,
                model="demo",
                accepted_at=NOON,
                overdue_after_s=1,
                turn=NewTurn(session_id=self.session, turn=1, messages=[question]),
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
                text="because" if status is CompletionStatus.COMPLETED else "",
                events=1 if status is CompletionStatus.COMPLETED else 0,
                place=place,
            )
        )
        return completion_id

    async def stands(self, **state: CompletionId) -> None:
        held = await self.world.turns.get(self.session)
        revision = held.revision if held is not None else None
        changed = TurnState(user_id=USER, **state)
        assert await self.world.turns.set(self.session, changed, revision) is not None

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
