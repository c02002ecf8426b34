"""A copy that is being made when everything of its user is removed comes to nothing."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta

import pytest

from services.history.records import MessageRecord, SessionRecord, to_milliseconds
from services.history.user_ports import PurgeMark
from shared.contracts.history import ForkSession, StoredMessage
from shared.contracts.ids import MessageId, SessionId, UserId
from shared.contracts.imports import ImportSession
from shared.contracts.user_purge import user_digest
from shared.errors import SessionNotFound, UserLeaving
from tests.fakes.history.conversation import NOON, OTHER, SESSION, USER, Turn
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_users import MemoryUserStore
from tests.unit.history.scene import Scene

NEW = SessionId("00000000-0000-7000-8000-00000000000f")
BEFORE = NOON + timedelta(minutes=1)


class Store(MemoryStore):
    """Remove everything of the user beside one of its writes, all at once or but for the end."""

    def __init__(self) -> None:
        super().__init__()
        self.removes_at: tuple[str, int] | None = None
        self.first = True
        """Whether before that write, or after it."""
        self.over = False
        self.writes: list[str] = []
        self.reached = asyncio.Event()
        self.hangs = False

    async def remove(self) -> None:
        self.marks[user_digest(USER)] = PurgeMark(
            id=user_digest(USER),
            user_id=None if self.over else USER,
            begun_at=to_milliseconds(NOON),
            before=to_milliseconds(BEFORE),
            settles_at=to_milliseconds(NOON + timedelta(minutes=2)),
            finished_at=to_milliseconds(NOON + timedelta(minutes=2)) if self.over else None,
        )
        users = MemoryUserStore(self, MemoryPresetStore(), MemorySettingsStore())
        async for _ in users.remove(USER):
            pass

    async def _beside(self, name: str, *, first: bool) -> None:
        if first:
            self.writes.append(name)
        if (name, self.writes.count(name)) == self.removes_at and first is self.first:
            await self.remove()
            self.reached.set()
            if self.hangs:
                await asyncio.Event().wait()

    async def find(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        await self._beside("find", first=True)
        return await super().find(user_id, session_id)

    async def form(self, session: SessionRecord) -> SessionRecord | None:
        await self._beside("form", first=True)
        formed = await super().form(session)
        await self._beside("form", first=False)
        return formed

    async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
        await self._beside("messages", first=True)
        await super().add_messages(messages)
        await self._beside("messages", first=False)

    async def add_terms(
        self, user_id: UserId, session_id: SessionId, terms: Collection[str], *, said: bool
    ) -> None:
        await self._beside("terms", first=True)
        await super().add_terms(user_id, session_id, terms, said=said)
        await self._beside("terms", first=False)

    async def show(self, session: SessionRecord) -> SessionRecord | None:
        await self._beside("show", first=True)
        return await super().show(session)


def long_import() -> ImportSession:
    """Of two batches."""
    messages = [
        StoredMessage(
            id=MessageId(f"m{number}"), role="user", content=f"word{number}", created_at=NOON,
            parent_id=MessageId(f"m{number - 1}") if number else None, depth=1,
        )
        for number in range(150)
    ]  # fmt: skip
    return ImportSession(user_id=USER, session_id=NEW, title="Imported", messages=messages)


def nothing_of(store: Store, user_id: UserId) -> bool:
    owned = [*store.sessions.values(), *store.stored_messages.values()]
    return user_id not in {*(it.user_id for it in owned), *(key[0] for key in store.terms)}


@pytest.mark.parametrize("over", [False, True], ids=["under way", "over"])
@pytest.mark.parametrize(
    ("at", "first"),
    [
        # Once it is shown, the removal finds it as any other session.
        (("show", 1), True),
        *(
            ((name, number), first)
            for name, number in (
                ("form", 1), ("terms", 1), ("messages", 1), ("terms", 2), ("messages", 2),
            )
            for first in (True, False)
        ),
    ],
)  # fmt: skip
async def test_nothing_of_an_import_is_shown_or_left(
    at: tuple[str, int], first: bool, over: bool
) -> None:
    scene = Scene(store := Store())
    store.removes_at, store.first, store.over = at, first, over
    await store.create(SessionRecord(id=SESSION, user_id=OTHER, created_at=1, updated_at=1))

    with pytest.raises((UserLeaving, SessionNotFound)):
        await scene.copying.import_session(long_import())

    assert nothing_of(store, USER)
    assert scene.told.events == []
    assert SESSION in store.sessions


@pytest.mark.parametrize("over", [False, True], ids=["under way", "over"])
async def test_a_copy_without_messages_is_not_shown_either(over: bool) -> None:
    scene = Scene(store := Store())
    store.removes_at, store.over = ("form", 1), over
    empty = long_import().model_copy(update={"messages": []})
    with pytest.raises(UserLeaving):
        await scene.copying.import_session(empty)
    assert nothing_of(store, USER)
    assert scene.told.events == []


async def test_nothing_of_a_fork_is_shown_or_left() -> None:
    scene = Scene(store := Store())
    await scene.begin()
    turn = Turn(text="Where are parrots?")
    await scene.say(turn)
    scene.told.events.clear()
    store.writes.clear()
    store.removes_at, store.first = ("messages", 1), False
    fork = ForkSession(user_id=USER, session_id=SESSION, message_id=turn.answer, new_session_id=NEW)
    with pytest.raises(UserLeaving):
        await scene.copying.fork(fork)
    assert nothing_of(store, USER)
    assert scene.told.events == []


async def test_one_that_waited_in_line_until_it_was_over_writes_nothing() -> None:
    scene = Scene(store := Store())
    store.removes_at, store.over = ("find", 1), True
    with pytest.raises(UserLeaving):
        await scene.copying.import_session(long_import())
    assert set(store.writes) == {"find"}


async def test_of_a_process_that_is_killed_in_mid_copy_the_next_one_makes_no_more() -> None:
    scene = Scene(store := Store())
    store.removes_at, store.first, store.hangs = ("messages", 2), True, True
    killed = asyncio.create_task(scene.copying.import_session(long_import()))
    await store.reached.wait()
    killed.cancel()
    await scene.copying.stop()
    # What it had sent to the database at its end; the second pass comes after that.
    store.removes_at, store.over = None, True
    await store.remove()

    successor = Scene(store)
    with pytest.raises(UserLeaving):
        await successor.copying.import_session(long_import())
    assert nothing_of(store, USER)


async def test_who_comes_back_may_import_again() -> None:
    scene = Scene(store := Store())
    store.over = True
    await store.remove()
    scene.now = BEFORE
    made = await scene.copying.import_session(long_import())
    assert made.session is not None
    assert made.session.message_count == 150
