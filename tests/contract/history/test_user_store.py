"""What every store must do with everything of one user, and with the marks of its removal."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    PREFERENCES,
    PRESETS,
    PURGES,
    SESSIONS,
    TERMS,
    USAGE,
    create_indexes,
    open_client,
)
from services.history.adapters.mongo_presets import MongoPresetStore
from services.history.adapters.mongo_purges import MongoPurgeMarks
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_settings import MongoSettingsStore
from services.history.adapters.mongo_turns import MongoTurnStore
from services.history.adapters.mongo_users import MongoUserStore
from services.history.ports import SessionStore, TurnStore
from services.history.preset_ports import PresetStore, SettingsStore
from services.history.preset_records import PreferencesRecord, PresetRecord
from services.history.recorder import Recorder
from services.history.user_ports import PurgeMark, PurgeMarks, UserStore
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.user_purge import UserData, user_digest
from tests.fakes.history.conversation import NOON, OTHER, USER, Turn
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_users import MemoryPurgeMarks, MemoryUserStore
from tests.fakes.history.records import T0, session

BARRED = UserId("ann|lee")
"""Begins as ``ann`` does, and a bar is what ends a user's name before a word."""


@dataclass(frozen=True)
class Whole:
    """All ports on one database."""

    users: UserStore
    marks: PurgeMarks
    turns: TurnStore
    sessions: SessionStore
    presets: PresetStore
    settings: SettingsStore
    names: Callable[[], Awaitable[str]]
    """Everything that the marks say, as one text."""

    async def remove(self, user_id: UserId) -> None:
        await self.users.hide(user_id)
        while await self.users.remove(user_id):
            pass


@pytest.fixture(params=["memory", "nx", "mongodb"])
async def whole(request: pytest.FixtureRequest) -> AsyncGenerator[Whole]:
    if request.param == "memory":
        store, presets, settings = MemoryStore(), MemoryPresetStore(), MemorySettingsStore()

        async def remembered() -> str:
            return str(store.marks)

        users = MemoryUserStore(store, presets, settings)
        marks = MemoryPurgeMarks(store.marks)
        yield Whole(users, marks, store, store, presets, settings, remembered)
        return
    client = open_client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    for name in (SESSIONS, MESSAGES, USAGE, COMPLETIONS, TERMS, PRESETS, PREFERENCES, PURGES):
        await database.drop_collection(name)
    await create_indexes(database)

    async def stored() -> str:
        return str([document async for document in database[PURGES].find()])

    yield Whole(
        MongoUserStore(database),
        MongoPurgeMarks(database),
        MongoTurnStore(database),
        MongoSessionStore(database),
        MongoPresetStore(database),
        MongoSettingsStore(database),
        stored,
    )
    client.close()


async def fill(whole: Whole, user_id: UserId, number: int) -> list[CompletionId]:
    """Two sessions with a turn each, one more completion that has not ended, and settings."""
    recorder = Recorder(whole.turns)
    made: list[CompletionId] = []
    session_id = SessionId("")
    for place in (number, number + 1):
        await whole.sessions.create(session(place, user_id=user_id))
        session_id = SessionId(f"00000000-0000-7000-8000-{place:012d}")
        turn = Turn(session_id=session_id, user_id=user_id)
        await recorder.record(turn.accepted(), NOON)
        await recorder.record(turn.completed(), NOON)
        made.append(turn.completion_id)
    await whole.sessions.delete(user_id, session_id, T0)
    running = Turn(session_id=SessionId("gone"), user_id=user_id)
    await recorder.record(running.accepted(), NOON)
    preset_id = f"00000000-0000-7000-8000-{number:012d}"
    preset = PresetRecord(
        id=preset_id, user_id=user_id, name="Mine", public=True, created_at=T0, updated_at=T0
    )
    await whole.presets.create(preset)
    await whole.settings.put_preferences(PreferencesRecord(id=user_id, temperature=0.5))
    return [*made, running.completion_id]


async def test_all_of_one_user_is_counted_and_removed_and_nothing_of_others(whole: Whole) -> None:
    await fill(whole, USER, 1)
    await fill(whole, OTHER, 11)
    await fill(whole, BARRED, 21)
    counted = await whole.users.count(USER)
    assert counted.model_dump(exclude={"search_terms", "keys"}) == {
        "sessions": 2, "messages": 4, "usage": 2, "presets": 1, "preferences": 1, "completions": 3,
    }  # fmt: skip
    assert counted.search_terms > 0
    assert await whole.users.count(OTHER) == counted
    assert await whole.users.count(BARRED) == counted

    await whole.remove(USER)
    await whole.remove(USER)

    assert await whole.users.count(USER) == UserData()
    assert await whole.users.count(OTHER) == counted
    assert await whole.users.count(BARRED) == counted
    assert await whole.sessions.page(USER, 10, None) == []
    assert await whole.sessions.page(USER, 10, None, deleted=True) == []


async def test_nothing_is_recorded_in_or_shown_of_sessions_that_go(whole: Whole) -> None:
    await fill(whole, USER, 1)
    await fill(whole, OTHER, 11)
    await whole.users.hide(USER)
    assert await whole.sessions.page(USER, 10, None) == []
    assert await whole.sessions.page(USER, 10, None, deleted=True) == []
    assert not await whole.turns.owns(USER, session(1).id)
    assert len(await whole.sessions.page(OTHER, 10, None)) == 1


async def test_much_goes_in_batches(whole: Whole) -> None:
    for number in range(1, 251):
        await whole.sessions.create(session(number))
        words = {f"word{number}", "everywhere"}
        await whole.turns.add_terms(USER, session(number).id, words, said=True)
    await whole.turns.add_terms(USER, SessionId("no session"), {"everywhere", "left"}, said=True)
    assert (await whole.users.count(USER)).search_terms == 502

    await whole.remove(USER)

    assert await whole.users.count(USER) == UserData()


async def test_completions_are_known_by_their_last_time_and_whether_they_ended(
    whole: Whole,
) -> None:
    known = await fill(whole, USER, 1)
    await fill(whole, OTHER, 11)
    assert sorted(await whole.users.completions(USER, 0)) == sorted(known)
    assert list(await whole.users.open_completions(USER)) == [known[-1]]
    later = int((NOON + timedelta(days=1)).timestamp() * 1000)
    assert list(await whole.users.completions(USER, later)) == []


def mark(**changes: object) -> PurgeMark:
    made = PurgeMark(
        id=user_digest(USER), user_id=USER, begun_at=T0, before=T0 + 60, settles_at=T0 + 120
    )
    return made.model_copy(update=changes)


async def test_a_mark_names_its_user_until_all_is_done(whole: Whole) -> None:
    assert await whole.turns.purge_of(USER) is None
    assert await whole.marks.begin(mark()) == mark()
    assert await whole.turns.purge_of(USER) == mark()
    assert await whole.turns.purge_of(OTHER) is None
    assert await whole.marks.under_way() == [mark()]

    await whole.marks.swept(mark().id, T0 + 5, [CompletionId("b")])
    await whole.marks.swept(mark().id, T0 + 6, [CompletionId("a"), CompletionId("b")])
    swept = await whole.marks.find(mark().id)
    assert swept is not None
    assert sorted(swept.running or []) == ["a", "b"]
    assert swept.swept_at == T0 + 6

    await whole.marks.finish(mark().id, T0 + 130)
    assert await whole.marks.under_way() == []
    assert USER not in await whole.names()
    finished = await whole.turns.purge_of(USER)
    assert finished is not None
    assert (finished.before, finished.finished_at) == (T0 + 60, T0 + 130)


async def test_a_purge_under_way_is_joined_and_one_that_is_over_makes_room(whole: Whole) -> None:
    await whole.marks.begin(mark())
    assert await whole.marks.begin(mark(begun_at=T0 + 1)) == mark()
    await whole.marks.swept(mark().id, T0 + 5, [CompletionId("a")])
    await whole.marks.finish(mark().id, T0 + 6)

    again = mark(begun_at=T0 + 10, before=T0 + 70, settles_at=T0 + 130)
    assert await whole.marks.begin(again) == again
    assert await whole.marks.under_way() == [again]


async def test_of_many_that_begin_at_once_one_stands(whole: Whole) -> None:
    begun = await asyncio.gather(*(whole.marks.begin(mark(before=T0 + n)) for n in range(8)))
    assert len({each.before for each in begun}) == 1
    assert len(await whole.marks.under_way()) == 1


async def test_marks_go_with_age_and_not_while_the_work_goes_on(whole: Whole) -> None:
    await whole.marks.begin(mark())
    await whole.marks.forget(T0 + 1000)
    assert await whole.marks.find(mark().id) is not None
    await whole.marks.finish(mark().id, T0 + 6)
    await whole.marks.forget(T0 + 6)
    assert await whole.marks.find(mark().id) is not None
    await whole.marks.forget(T0 + 7)
    assert await whole.marks.find(mark().id) is None
