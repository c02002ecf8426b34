"""What every store must do with everything of one user, and with the marks of its removal."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import monitoring

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
from services.history.turn_records import message_of
from services.history.user_ports import PurgeMark, PurgeMarks, UserStore
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.user_purge import UserData, user_digest
from tests.fakes.history.conversation import NOON, OTHER, USER, Turn
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_users import MemoryPurgeMarks, MemoryUserStore
from tests.fakes.history.records import T0, session

ME = "a process"
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
        async for _ in self.users.remove(user_id):
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


async def end(whole: Whole) -> None:
    """At ``T0 + 6``."""
    there = await whole.marks.find(mark().id)
    assert there is not None
    assert await whole.marks.hold(there, ME, 9)
    assert await whole.marks.finish(mark().id, ME, T0 + 6)


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

    await whole.marks.hold(swept, ME, 1)
    assert await whole.marks.finish(mark().id, ME, T0 + 130)
    assert await whole.marks.under_way() == []
    assert USER not in await whole.names()
    finished = await whole.turns.purge_of(USER)
    assert finished is not None
    assert (finished.before, finished.finished_at) == (T0 + 60, T0 + 130)


async def test_a_purge_under_way_is_joined_and_one_that_is_over_makes_room(whole: Whole) -> None:
    await whole.marks.begin(mark())
    assert await whole.marks.begin(mark(begun_at=T0 + 1)) == mark()
    await whole.marks.keep_found(mark().id, UserData(usage=1))
    await whole.marks.keep_keys(mark().id, ["k"], ["k"])
    await whole.marks.swept(mark().id, T0 + 5, [CompletionId("a")])
    await end(whole)

    again = mark(begun_at=T0 + 10, before=T0 + 70, settles_at=T0 + 130)
    assert await whole.marks.begin(again) == again
    assert await whole.marks.under_way() == [again]


async def test_one_completion_is_forgotten_if_it_is_this_users(whole: Whole) -> None:
    made = await fill(whole, USER, 1)
    before = await whole.users.count(USER)
    await whole.turns.forget_completion(OTHER, made[0])
    assert await whole.users.count(USER) == before
    await whole.turns.forget_completion(USER, made[0])
    after = await whole.users.count(USER)
    assert (after.usage, after.completions) == (before.usage - 1, before.completions - 1)
    assert after.messages == before.messages


async def test_a_purge_remembers_a_completion_that_is_forgotten_while_it_is_under_way(
    whole: Whole,
) -> None:
    early, late, never = (CompletionId(name) for name in ("a", "b", "c"))
    await whole.marks.begin(mark(id=user_digest(USER)))
    await whole.turns.forget_completion(USER, early)
    await whole.marks.swept(user_digest(USER), T0 + 5, [late])
    await whole.turns.forget_completion(OTHER, never)
    found = await whole.turns.purge_of(USER)
    assert found is not None
    assert found.running == [early, late]

    await end(whole)
    await whole.turns.forget_completion(USER, never)
    over = await whole.turns.purge_of(USER)
    assert over is not None
    assert over.running is None


async def test_times_are_reckoned_from_when_gateways_were_told_first(whole: Whole) -> None:
    assert await whole.marks.tell(mark().id, T0, T0, T0) is None
    await whole.marks.begin(mark())
    told = mark(told_at=T0 + 7, before=T0 + 67, settles_at=T0 + 127)
    assert await whole.marks.tell(mark().id, T0 + 7, T0 + 67, T0 + 127) == told
    assert await whole.marks.tell(mark().id, T0 + 8, T0 + 68, T0 + 128) == told
    assert await whole.marks.under_way() == [told]
    await end(whole)
    await whole.marks.begin(mark(begun_at=T0 + 10))
    assert await whole.marks.find(mark().id) == mark(begun_at=T0 + 10)


async def test_of_many_that_begin_at_once_one_stands(whole: Whole) -> None:
    begun = await asyncio.gather(*(whole.marks.begin(mark(before=T0 + n)) for n in range(8)))
    assert len({each.before for each in begun}) == 1
    assert len(await whole.marks.under_way()) == 1


async def test_marks_go_with_age_and_not_while_the_work_goes_on(whole: Whole) -> None:
    await whole.marks.begin(mark())
    await whole.marks.forget(T0 + 1000)
    assert await whole.marks.find(mark().id) is not None
    await end(whole)
    await whole.marks.forget(T0 + 6)
    assert await whole.marks.find(mark().id) is not None
    await whole.marks.forget(T0 + 7)
    assert await whole.marks.find(mark().id) is None


async def test_one_process_holds_a_mark_until_another_follows_one_that_it_has_seen(
    whole: Whole,
) -> None:
    free = await whole.marks.begin(mark())
    assert await whole.marks.hold(free, ME, 1)
    seen = await whole.marks.find(mark().id)
    assert seen == mark(holder=ME, beat=1)
    assert not await whole.marks.hold(free, "another", 1), "it was free when that one looked"
    assert await whole.marks.hold(free, ME, 2), "it is my own"
    assert not await whole.marks.hold(seen, "another", 1), "it has given a sign of life since"

    seen = mark(holder=ME, beat=2)
    taken = await asyncio.gather(*(whole.marks.hold(seen, f"another {n}", 1) for n in range(8)))
    assert sum(taken) == 1
    assert not await whole.marks.hold(seen, ME, 3)
    assert not await whole.marks.finish(mark().id, ME, T0 + 6)
    found = await whole.marks.find(mark().id)
    assert found is not None
    assert (found.finished_at, found.user_id) == (None, USER)


async def test_who_has_swept_lets_go_and_what_is_over_or_begun_anew_is_held_by_nobody(
    whole: Whole,
) -> None:
    free = await whole.marks.begin(mark())
    assert await whole.marks.hold(free, ME, 1)
    await whole.marks.swept(mark().id, T0 + 5, [])
    swept = await whole.marks.find(mark().id)
    assert swept == mark(swept_at=T0 + 5)
    assert await whole.marks.hold(swept, "another", 1)
    assert await whole.marks.finish(mark().id, "another", T0 + 6)
    assert not await whole.marks.hold(swept, ME, 2)
    await whole.marks.begin(mark(begun_at=T0 + 10))
    assert not await whole.marks.hold(swept, ME, 2)


async def test_a_mark_keeps_what_was_found_first_and_all_keys_until_it_is_over(
    whole: Whole,
) -> None:
    await whole.marks.begin(mark())
    await whole.marks.keep_found(mark().id, UserData(sessions=3, keys=2))
    await whole.marks.keep_found(mark().id, UserData())
    await whole.marks.keep_keys(mark().id, ["k1", "k2"], ["k1"])
    await whole.marks.keep_keys(mark().id, ["k2", "k3"], [])
    (kept,) = await whole.marks.under_way()
    assert kept.found == UserData(sessions=3, keys=2)
    assert (kept.key_ids, kept.revoked_ids) == (["k1", "k2", "k3"], ["k1"])

    await end(whole)

    over = await whole.marks.find(mark().id)
    assert over is not None
    assert (over.key_ids, over.revoked_ids, over.holder, over.beat) == (None, None, None, None)
    assert over.found == UserData(sessions=3, keys=2)


async def test_messages_whose_session_is_gone_are_found_and_removed(whole: Whole) -> None:
    await fill(whole, OTHER, 11)
    others = await whole.users.count(OTHER)
    accepted = Turn(session_id=SessionId("of a process that was cut off")).accepted()
    turn = accepted.turn
    assert turn is not None
    (said,) = turn.messages
    whose = {user_id: MessageId(f"of {user_id}") for user_id in (USER, OTHER)}
    for user_id, message_id in whose.items():
        of_user = accepted.model_copy(update={"user_id": user_id})
        stray = message_of(of_user, turn, said.model_copy(update={"id": message_id}))
        await whole.turns.add_messages([stray])

    await whole.remove(USER)

    for user_id, message_id in whose.items():
        left = await whole.turns.messages(user_id, turn.session_id, [message_id])
        assert [it.user_id for it in left] == [OTHER] * (user_id == OTHER)
    assert await whole.users.count(OTHER) == others


class Calls(monitoring.CommandListener):
    """What the database was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.asked.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """The test fails anyway."""


INDEXED = {
    SESSIONS: {"user_id"}, MESSAGES: {"session_id"}, USAGE: {"user_id"}, PRESETS: {"user_id"},
    COMPLETIONS: {"user_id"}, TERMS: {"k", "session_id"}, PREFERENCES: {"_id"},
}  # fmt: skip


@pytest.mark.parametrize("server", ["nx", "mongodb"])
async def test_no_call_of_a_purge_reads_or_writes_much_or_goes_without_an_index(
    request: pytest.FixtureRequest, server: str
) -> None:
    url = request.getfixturevalue(f"{server}_url")
    calls = Calls()
    client = AsyncIOMotorClient(url, event_listeners=[calls])
    database = client["parley_test"]
    for name in INDEXED:
        await database.drop_collection(name)
    await create_indexes(database)
    theirs = {"user_id": USER, "session_id": "s"}
    for at in range(0, 1200, 300):
        many = [{"_id": f"{n:04d}"} for n in range(at, at + 300)]
        await database[SESSIONS].insert_many([{**it, "user_id": USER} for it in many])
        await database[MESSAGES].insert_many([{**it, **theirs} for it in many])
        await database[USAGE].insert_many([{**it, "user_id": USER} for it in many])
        await database[COMPLETIONS].insert_many(
            [{**it, "user_id": USER, "state": "1_open", "accepted_at": T0} for it in many]
        )
        await database[TERMS].insert_many([{**it, **theirs, "k": f"{USER}|word"} for it in many])
    users = MongoUserStore(database)
    calls.asked.clear()

    counted = await users.count(USER)
    assert len(await users.completions(USER, 0)) == 1200
    assert len(await users.open_completions(USER)) == 1200
    await users.hide(USER)
    async for _ in users.remove(USER):
        pass

    assert (counted.sessions, counted.usage, counted.completions) == (1200, 1200, 1200)
    assert counted.search_terms == 1200
    assert await users.count(USER) == UserData()
    assert {name for asked in calls.asked for name in asked} & {"aggregate", "count"} == set()
    for asked in calls.asked:
        if "find" in asked:
            used = set(asked["filter"]) & INDEXED[asked["find"]]
            assert used, asked
            assert asked["find"] == PREFERENCES or 0 < asked["limit"] <= 500
        for each in [*asked.get("updates", ()), *asked.get("deletes", ())]:
            by_id = each["q"]["_id"]
            assert not isinstance(by_id, dict) or len(by_id["$in"]) <= 100
    client.close()
