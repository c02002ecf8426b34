"""Forks and imports: sessions that begin with messages."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.history.records import MessageRecord, SessionRecord
from shared.contracts.chat import ContentPart, Role
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    ForkSession,
    GetSession,
    ListSessions,
    MessageTree,
    ReadTree,
    SessionDetail,
    SessionHeadQuery,
    StoredMessage,
)
from shared.contracts.ids import MessageId, SessionId, copied_message_id
from shared.contracts.imports import ImportSession
from shared.errors import HistoryUnavailable, InvalidRequest, MessageNotFound, SessionNotFound
from tests.fakes.history.conversation import NOON, OTHER, SESSION, USER, Turn
from tests.fakes.history.log import raw
from tests.fakes.history.memory_store import MemoryStore
from tests.unit.history.scene import Scene

NEW = SessionId("00000000-0000-7000-8000-00000000000f")


def _fork(message_id: MessageId) -> ForkSession:
    return ForkSession(user_id=USER, session_id=SESSION, message_id=message_id, new_session_id=NEW)


async def _read(scene: Scene) -> SessionDetail:
    return await scene.reading.detail(GetSession(user_id=USER, session_id=NEW))


async def _tree(scene: Scene, session_id: SessionId) -> MessageTree:
    return await scene.trees.page(ReadTree(user_id=USER, session_id=session_id))


async def _found(scene: Scene, search: str) -> set[SessionId]:
    page = await scene.sessions.page(ListSessions(user_id=USER, search=search))
    return {session.id for session in page.sessions}


async def _goes_on(scene: Scene) -> None:
    """A turn as a gateway places it after the new session's head is shown behind it."""
    before = [message.id for message in (await _read(scene)).messages]
    head = await scene.reading.head(SessionHeadQuery(user_id=USER, session_id=NEW))
    assert head.leaf is not None
    assert head.leaf.id == before[-1]
    turn = Turn(head.turn + 1, parent_id=head.leaf.id, depth=head.leaf.depth + 1, session_id=NEW)
    await scene.say(turn)

    detail = await _read(scene)
    assert [message.id for message in detail.messages] == [
        *before,
        turn.user_message,
        turn.answer,
    ]
    assert detail.session is not None
    assert detail.session.message_count == len(before) + 2
    assert detail.session.active_leaf == turn.answer


async def _two_branches(scene: Scene) -> Turn:
    """Three turns and an edit of the first; gives the second of the three."""
    first = Turn(text="Where are parrots?")
    second = first.next("And finches?")
    await scene.begin(title="Birds", model="demo", temperature=0.5, preset_id="p")
    await scene.say(first, second, second.next("And owls?"), Turn(4, text="Where is bread?"))
    return second


async def test_a_fork_holds_the_branch_to_its_message_and_goes_on() -> None:
    scene = Scene()
    second = await _two_branches(scene)

    reply = await scene.copying.fork(_fork(second.answer))

    old = await scene.detail(leaf=second.answer)
    new = await _read(scene)
    assert reply.session is not None
    assert reply.session == new.session
    assert [message.content for message in new.messages] == [
        message.content for message in old.messages
    ]
    assert [message.id for message in new.messages] == [
        copied_message_id(NEW, message.id) for message in old.messages
    ]
    assert (reply.session.title, reply.session.message_count) == ("Birds (fork)", 4)
    assert (reply.session.model, reply.session.temperature) == ("demo", 0.5)
    assert (reply.session.preset_id, reply.session.version) == ("p", 1)
    await _goes_on(scene)


async def test_a_fork_is_found_by_its_words_and_not_by_those_it_left_behind() -> None:
    scene = Scene()
    second = await _two_branches(scene)

    await scene.copying.fork(_fork(second.answer))

    assert await _found(scene, "finches birds") == {SESSION, NEW}
    assert await _found(scene, "fork") == {NEW}
    assert await _found(scene, "owls") == await _found(scene, "bread") == {SESSION}


async def test_a_fork_at_a_question_goes_on_after_it() -> None:
    scene = Scene()
    second = await _two_branches(scene)

    await scene.copying.fork(_fork(second.user_message))

    await _goes_on(scene)


async def test_forking_again_is_forking_once() -> None:
    scene = Scene()
    second = await _two_branches(scene)

    first = await scene.copying.fork(_fork(second.answer))
    before = scene.store.everything()
    again = await asyncio.gather(*(scene.copying.fork(_fork(second.answer)) for _ in range(5)))

    assert again == [first.model_copy(update={"unchanged": True})] * 5
    assert scene.store.everything() == before


async def test_a_long_title_leaves_room_for_the_mark() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin(title="x" * 255)
    await scene.say(turn)

    reply = await scene.copying.fork(_fork(turn.answer))

    assert reply.session is not None
    assert len(reply.session.title) == 255
    assert reply.session.title.endswith("x (fork)")


async def test_what_is_not_there_is_not_forked() -> None:
    scene, turn, elsewhere = Scene(), Turn(), Turn(session_id=NEW)
    await scene.begin()
    await scene.sessions.create(CreateSession(user_id=USER, session_id=NEW))
    await scene.say(turn, elsewhere)

    for message_id in (elsewhere.answer, MessageId("never")):
        with pytest.raises(MessageNotFound):
            await scene.copying.fork(_fork(message_id))
    with pytest.raises(SessionNotFound):
        await scene.copying.fork(_fork(turn.answer).model_copy(update={"user_id": OTHER}))


async def test_a_fork_at_an_answer_that_is_not_stored_yet_waits_for_it() -> None:
    class Late(Scene):
        async def _pause(self, seconds: float) -> None:
            await self.say(turn)
            await super()._pause(seconds)

    scene, turn = Late(), Turn()
    await scene.begin()
    scene.log.events = [raw(turn.completed(), NOON)]

    assert (await scene.copying.fork(_fork(turn.answer))).session is not None


async def test_a_fork_that_broke_off_is_not_seen_and_is_finished_when_asked_again() -> None:
    class Failing(MemoryStore):
        fails = False

        async def show(self, session: SessionRecord) -> SessionRecord | None:
            if self.fails:
                raise HistoryUnavailable("away")
            return await super().show(session)

    scene = Scene(store := Failing())
    second = await _two_branches(scene)
    store.fails = True
    with pytest.raises(HistoryUnavailable):
        await scene.copying.fork(_fork(second.answer))
    with pytest.raises(SessionNotFound):
        await _read(scene)
    assert await _found(scene, "finches") == {SESSION}

    store.fails = False
    await scene.copying.fork(_fork(second.answer))

    assert len((await _read(scene)).messages) == 4


async def test_a_long_fork_goes_on_when_its_asker_waits_no_longer() -> None:
    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.reached, self.go = asyncio.Event(), asyncio.Event()

        async def show(self, session: SessionRecord) -> SessionRecord | None:
            self.reached.set()
            await self.go.wait()
            return await super().show(session)

    scene = Scene(store := Slow())
    second = await _two_branches(scene)
    asker = asyncio.create_task(scene.copying.fork(_fork(second.answer)))
    await store.reached.wait()
    asker.cancel()
    again = asyncio.create_task(scene.copying.fork(_fork(second.answer)))
    store.go.set()

    assert (await again).session == (await _read(scene)).session
    assert asker.cancelled()
    await scene.copying.stop()


def _exported(
    name: str, parent: str | None, role: Role = "user", minute: int = 0, **fields: object
) -> StoredMessage:
    message = StoredMessage(
        id=MessageId(name),
        role=role,
        content=f"Text {name}",
        created_at=NOON.replace(minute=minute),
        parent_id=MessageId(parent) if parent is not None else None,
        depth=99,
    )
    return message.model_copy(update=fields)


def _import(*messages: StoredMessage, **fields: object) -> ImportSession:
    command = ImportSession(user_id=USER, session_id=NEW, title="Imported")
    return command.model_copy(update={"messages": list(messages), **fields})


async def test_what_was_exported_is_the_same_after_an_import_and_goes_on() -> None:
    scene = Scene()
    await _two_branches(scene)
    exported = await _tree(scene, SESSION)
    assert exported.session is not None

    await scene.copying.import_session(
        _import(*exported.messages, active_leaf=exported.session.active_leaf, model="demo")
    )

    def copied(message_id: MessageId | None) -> MessageId | None:
        return copied_message_id(NEW, message_id) if message_id is not None else None

    imported = await _tree(scene, NEW)
    assert imported.session is not None
    assert imported.session.active_leaf == copied(exported.session.active_leaf)
    assert (imported.session.message_count, imported.session.model) == (6, "demo")
    assert {message.id: message for message in imported.messages} == {
        copied_message_id(NEW, message.id): message.model_copy(
            update={
                "id": copied_message_id(NEW, message.id),
                "parent_id": copied(message.parent_id),
                "sibling_ids": message.sibling_ids
                and [copied_message_id(NEW, sibling) for sibling in message.sibling_ids],
            }
        )
        for message in exported.messages
    }
    assert await _found(scene, "finches") == {SESSION, NEW}


@pytest.mark.parametrize("leaf", [None, "b", "d", "a"])
async def test_an_import_goes_on_at_its_leaf_else_at_its_newest_message(leaf: str | None) -> None:
    scene = Scene()
    messages = [
        _exported("a", None, minute=1),
        _exported("b", "a", "assistant", minute=2),
        _exported("c", None, minute=3),
        _exported("d", "c", "assistant", minute=4),
    ]

    await scene.copying.import_session(_import(*messages, active_leaf=leaf))

    branch = [message.content for message in (await _read(scene)).messages]
    assert branch[-1] == f"Text {leaf or 'd'}"
    if leaf in (None, "d"):
        assert (await _read(scene)).messages[0].sibling_ids == [
            copied_message_id(NEW, MessageId("a")),
            copied_message_id(NEW, MessageId("c")),
        ]
    await _goes_on(scene)


async def test_depths_come_from_parents_and_parts_are_kept() -> None:
    scene = Scene()
    parts = [ContentPart(type="text", text="see this")]

    await scene.copying.import_session(
        _import(_exported("a", None, "system"), _exported("b", "a", content=parts, depth=7))
    )

    messages = (await _read(scene)).messages
    assert [(message.depth, message.content) for message in messages] == [
        (1, "Text a"),
        (2, parts),
    ]
    assert await _found(scene, "see") == {NEW}


async def test_a_clock_that_went_back_does_not_turn_a_branch_around() -> None:
    scene = Scene()
    messages = [
        _exported("a", None, minute=30),
        _exported("b", "a", "assistant", minute=1),
        _exported("c", "b", minute=2),
        _exported("d", None, minute=20),
    ]

    await scene.copying.import_session(_import(*messages))

    branch = [message.content for message in (await _read(scene)).messages]
    assert branch == ["Text a", "Text b", "Text c"]


async def test_importing_again_is_importing_once_and_nothing_is_a_session_too() -> None:
    scene = Scene()

    first = await scene.copying.import_session(_import(_exported("a", None)))
    before = scene.store.everything()

    again = await scene.copying.import_session(_import(_exported("a", None)))
    assert again == first.model_copy(update={"unchanged": True})
    assert scene.store.everything() == before
    empty = _import(session_id=SESSION)
    assert (await scene.copying.import_session(empty)).session is not None


@pytest.mark.parametrize(("minutes", "sessions"), [(10, 1), (11, 2)])
async def test_the_same_import_after_ten_minutes_is_another_session(
    minutes: int, sessions: int
) -> None:
    scene = Scene()
    first = await scene.copying.import_session(_import(_exported("a", None)))
    scene.now += timedelta(minutes=minutes)

    again = await scene.copying.import_session(_import(_exported("a", None)))
    retried = await scene.copying.import_session(_import(_exported("a", None)))

    assert (again == first.model_copy(update={"unchanged": True})) is (sessions == 1)
    assert retried == again.model_copy(update={"unchanged": True})
    assert len(scene.store.sessions) == sessions


async def test_an_import_that_was_deleted_can_be_made_once_more() -> None:
    scene = Scene()
    await scene.copying.import_session(_import(_exported("a", None)))
    await scene.sessions.delete(DeleteSession(user_id=USER, session_id=NEW))

    again = await scene.copying.import_session(_import(_exported("a", None)))

    assert again.session is not None
    assert again.session.id != NEW
    assert again.session.message_count == 1


async def test_an_import_that_broke_off_is_finished_however_late_it_is_asked_for_again() -> None:
    class Failing(MemoryStore):
        fails = True

        async def show(self, session: SessionRecord) -> SessionRecord | None:
            if self.fails:
                raise HistoryUnavailable("away")
            return await super().show(session)

    scene = Scene(store := Failing())
    with pytest.raises(HistoryUnavailable):
        await scene.copying.import_session(_import(_exported("a", None)))
    store.fails = False
    scene.now += timedelta(hours=1)

    await scene.copying.import_session(_import(_exported("a", None)))

    assert set(store.sessions) == {NEW}
    assert len((await _read(scene)).messages) == 1


async def test_an_import_that_is_purged_while_it_is_made_leaves_nothing() -> None:
    class Purged(MemoryStore):
        async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
            await super().add_messages(messages)
            self.purging.add(NEW)

    scene = Scene(store := Purged())

    with pytest.raises(SessionNotFound):
        await scene.copying.import_session(_import(_exported("a", None)))

    assert (store.stored_messages, store.terms) == ({}, {})


async def test_an_import_of_very_many_words_is_found_by_its_first_ones() -> None:
    scene = Scene()
    texts = [" ".join(f"w{n}x{k}" for k in range(500)) for n in range(30)]
    messages = [_exported(f"m{n}", None, content=text) for n, text in enumerate(texts)]

    await scene.copying.import_session(_import(*messages))

    assert len(scene.store.terms) == 10_001
    assert await _found(scene, "w0x0 imported") == {NEW}
    assert await _found(scene, "w29x499") == set()


@pytest.mark.parametrize(
    ("messages", "fields", "param"),
    [
        ([_exported("a", None), _exported("a", None)], {}, "messages[1].id"),
        ([_exported("b", "a"), _exported("a", None)], {}, "messages[0].parent_id"),
        ([_exported("a", "a")], {}, "messages[0].parent_id"),
        ([_exported("a", None), _exported("b", "x")], {}, "messages[1].parent_id"),
        ([_exported("a", None)], {"active_leaf": "x"}, "active_leaf"),
        ([_exported("a", None)] * 20_001, {}, "messages"),
    ],
    ids=["twice", "child first", "its own parent", "unknown parent", "unknown leaf", "too many"],
)
async def test_what_is_no_tree_is_refused_with_its_place(
    messages: list[StoredMessage], fields: dict[str, object], param: str
) -> None:
    scene = Scene()

    with pytest.raises(InvalidRequest) as refused:
        await scene.copying.import_session(_import(*messages, **fields))

    assert refused.value.param == param
    assert scene.store.sessions == {}


async def test_an_import_into_the_id_of_somebody_else_is_not_found() -> None:
    scene = Scene()
    await scene.sessions.create(CreateSession(user_id=OTHER, session_id=NEW))

    with pytest.raises(SessionNotFound):
        await scene.copying.import_session(_import(_exported("a", None)))
    assert scene.store.stored_messages == {}
