"""Whoever shows sessions is told what has changed, by history alone, once it is stored."""

import asyncio
from datetime import timedelta

import pytest

from services.history.event_format import Event
from services.history.intake import Intake
from services.history.news import News, TurnNews
from services.history.recorder import Recorder
from shared.contracts.chat import CompletionStatus
from shared.contracts.history import (
    DeleteSession,
    ForkSession,
    RestoreSession,
    Session,
    StoredMessage,
    UpdateSession,
)
from shared.contracts.ids import MessageId, SessionId
from shared.contracts.imports import ImportSession
from shared.errors import SessionNotFound
from tests.fakes.history.conversation import NOON, OTHER, SESSION, USER, Turn, stateless
from tests.fakes.history.log import MemoryDeadLetters, MemoryLog, RecordingDelivery, raw
from tests.unit.history.scene import Scene

NEW = SessionId("00000000-0000-7000-8000-00000000000f")
FILE = ImportSession(
    user_id=USER,
    session_id=NEW,
    title="Birds",
    messages=[
        StoredMessage(id=MessageId("a"), role="user", content="Hi", created_at=NOON, depth=1)
    ],
)


async def _begun() -> Scene:
    scene = Scene()
    await scene.begin(title="Plans")
    scene.told.events.clear()
    return scene


def _last(scene: Scene) -> Session:
    session = scene.told.events[-1].session
    assert session is not None
    return session


async def _take(scene: Scene, event: Event) -> list[str]:
    """The event as the consumer takes it; what had been told when the broker heard of it."""
    store, before = scene.store, list[str]()

    class Delivery(RecordingDelivery):
        async def done(self) -> None:
            before.extend(scene.told.types)
            await super().done()

    async def pause(_seconds: float) -> None:
        store.available = True
        await asyncio.sleep(0)

    news = TurnNews(store, store, News(scene.told))
    intake = Intake(
        Recorder(store),
        news,
        MemoryDeadLetters(),
        MemoryLog(),
        on_stored=lambda _size: None,
        pause=pause,
    )
    await intake.take(Delivery(raw(event, NOON)))
    return before


async def test_a_session_is_told_when_it_is_made_changed_deleted_and_back() -> None:
    scene = Scene()
    await scene.begin(title="Plans")
    await scene.changing.update(UpdateSession(user_id=USER, session_id=SESSION, title="Mine"))
    assert (_last(scene).title, _last(scene).version) == ("Mine", 2)
    await scene.sessions.delete(DeleteSession(user_id=USER, session_id=SESSION))
    await scene.sessions.restore(RestoreSession(user_id=USER, session_id=SESSION))

    assert scene.told.types == [
        "session_created",
        "session_updated",
        "session_deleted",
        "session_created",
    ]
    assert {event.session_id for event in scene.told.events} == {SESSION}
    assert {event.origin for event in scene.told.events} == {"history"}
    assert set(scene.told.users) == {USER}


async def test_what_changes_nothing_is_told_to_nobody() -> None:
    scene = await _begun()
    await scene.changing.update(UpdateSession(user_id=USER, session_id=SESSION, title="Plans"))
    await scene.sessions.restore(RestoreSession(user_id=USER, session_id=SESSION))
    with pytest.raises(SessionNotFound):
        await scene.sessions.delete(DeleteSession(user_id=OTHER, session_id=SESSION))
    assert scene.told.events == []


async def test_a_copy_is_told_once_though_it_is_asked_for_again() -> None:
    scene = await _begun()
    turn = Turn()
    await scene.say(turn)
    fork = ForkSession(user_id=USER, session_id=SESSION, message_id=turn.answer, new_session_id=NEW)
    replies = [await scene.copying.fork(fork) for _ in range(2)]

    assert [reply.unchanged for reply in replies] == [None, True]
    assert [(event.type, event.session_id) for event in scene.told.events] == [
        ("session_created", NEW)
    ]
    assert _last(scene).message_count == 2


async def test_an_import_says_whether_its_session_was_there_before() -> None:
    scene = Scene()
    replies = [await scene.copying.import_session(FILE) for _ in range(2)]
    scene.now += timedelta(minutes=11)
    replies.append(await scene.copying.import_session(FILE))

    assert [reply.unchanged for reply in replies] == [None, True, None]
    assert scene.told.types == ["session_created"] * 2


async def test_a_copy_is_told_also_when_nobody_waits_for_it_any_more() -> None:
    scene = Scene()
    asking = asyncio.create_task(scene.copying.import_session(FILE))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await scene.copying.import_session(FILE)
    assert scene.told.types == ["session_created"]


@pytest.mark.parametrize("status", [CompletionStatus.COMPLETED, CompletionStatus.REJECTED])
async def test_the_end_of_a_turn_is_told_before_its_event_is_acknowledged(
    status: CompletionStatus,
) -> None:
    scene, turn = await _begun(), Turn()
    assert await _take(scene, turn.accepted()) == []
    assert await _take(scene, turn.completed(status=status)) == ["session_updated"]

    assert scene.told.events[0].completion_id == turn.completion_id
    assert _last(scene).message_count == (0 if status is CompletionStatus.REJECTED else 2)


async def test_an_end_that_is_stored_before_its_question_is_told_again_with_it() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    scene.told.events.clear()
    await _take(scene, turn.completed())
    await _take(scene, turn.accepted().model_copy(update={"turn": _titled(turn, "Parrots")}))

    assert scene.told.types == ["session_updated"] * 2
    assert _last(scene).title == "Parrots"
    assert {event.completion_id for event in scene.told.events} == {turn.completion_id}


async def test_a_turn_is_told_when_the_database_is_back() -> None:
    scene, turn = await _begun(), Turn()
    await _take(scene, turn.accepted())
    scene.store.available = False
    assert await _take(scene, turn.completed()) == ["session_updated"]
    assert _last(scene).message_count == 2


async def test_nobody_is_told_of_what_no_list_shows() -> None:
    scene, turn = await _begun(), Turn()
    await _take(scene, stateless())
    await scene.sessions.delete(DeleteSession(user_id=USER, session_id=SESSION))
    scene.told.events.clear()
    await _take(scene, turn.accepted())
    await _take(scene, turn.completed())
    assert scene.told.events == []


def _titled(turn: Turn, title: str) -> object:
    new = turn.accepted().turn
    assert new is not None
    return new.model_copy(update={"title": title})
