"""Everything of one user goes, in two passes, and stays away."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from services.history.api_keys import ApiKeys
from services.history.intake import Intake
from services.history.key_copying import KeyCopying
from services.history.key_records import KeyRecord
from services.history.news import News, TurnNews
from services.history.purge_telling import PurgeTelling
from services.history.recorder import Recorder
from services.history.user_ports import PurgeMark
from services.history.user_purging import UserPurging
from shared.contracts.api_keys import CreateKey, RevokeKey, new_key_id
from shared.contracts.ids import UserId
from shared.contracts.user_purge import (
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    user_digest,
)
from shared.errors import HistoryUnavailable, UserLeaving
from tests.fakes.history.conversation import NOON, OTHER, USER, Turn
from tests.fakes.history.log import MemoryDeadLetters, MemoryLog, RecordingDelivery, raw
from tests.fakes.history.memory_keys import MemoryKeyCopies, MemoryKeyStore
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_users import (
    MemoryPurgeMarks,
    MemoryTraces,
    MemoryUserStore,
    MemoryWords,
    purging_of,
)
from tests.fakes.history.records import session
from tests.fakes.history.told import Told
from tests.support.waiting import eventually

SLACK = timedelta(minutes=1)
LATER = NOON + timedelta(minutes=10)
"""When the purge is asked for: turns of the conversation begin at noon."""
DIGEST = user_digest(USER)
QUERY, COMMAND = UserDataQuery(user_id=USER), PurgeUser(user_id=USER)


class Scene:
    """One conversation of a user with a key, and all that a purge touches."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store if store is not None else MemoryStore()
        self.traces, self.words = MemoryTraces(), MemoryWords()
        self.key_store, self.copies = MemoryKeyStore(), MemoryKeyCopies()
        self.marks = MemoryPurgeMarks(self.store.marks)
        self.now = LATER
        self.recorder = Recorder(self.store)
        self.keys = ApiKeys(
            self.key_store,
            self.copies,
            self.store,
            now=lambda: self.now,
            doubted=lambda: None,
        )
        self.clock = 0.0
        self.users = MemoryUserStore(self.store, MemoryPresetStore(), MemorySettingsStore())
        self.purging = self.process("one")
        self.telling = PurgeTelling(self.marks, self.words)

    def process(self, name: str) -> UserPurging:
        """One of several histories on the same stores."""
        return purging_of(
            self.store,
            self.users,
            self.key_store,
            self.copies,
            self.words,
            self.traces,
            slack=SLACK,
            now=lambda: self.now,
            clock=lambda: self.clock,
            name=name,
            marks=self.marks,
        )

    async def say(self, turn: Turn) -> None:
        await self.store.create(session(user_id=turn.user_id))
        await self.recorder.record(turn.accepted(), NOON)
        await self.recorder.record(turn.completed(), NOON)

    async def key(self) -> CreateKey:
        key_id = new_key_id()
        wanted = CreateKey(
            user_id=USER, key_id=key_id, digest=user_digest(key_id), prefix="pk-abcdefgh"
        )
        await self.keys.create(wanted)
        return wanted

    async def state(self) -> PurgeState:
        return (await self.purging.look(QUERY)).state

    async def left(self) -> UserData:
        data = (await self.purging.look(QUERY)).data
        assert data is not None
        return data

    async def go_through(self) -> None:
        """Both passes of what has begun."""
        await self.purging.work()
        self.now = LATER + 2 * SLACK
        await self.purging.work()


async def test_before_it_is_asked_for_it_only_counts() -> None:
    scene = Scene()
    await scene.say(Turn())
    await scene.key()

    seen = await scene.purging.look(QUERY)
    await scene.purging.work()

    assert seen.state is PurgeState.NONE
    assert seen.data is not None
    assert (seen.data.sessions, seen.data.usage, seen.data.keys) == (1, 1, 1)
    assert seen.data.messages == 2
    assert seen == await scene.purging.look(QUERY)
    assert not scene.words.known


async def test_the_first_pass_removes_all_and_the_second_lets_the_user_in_again() -> None:
    scene = Scene()
    await scene.say(Turn())
    key = await scene.key()

    begun = await scene.purging.begin(COMMAND)
    assert begun.state is PurgeState.REMOVING
    assert begun.settles_at == LATER + 2 * SLACK
    assert scene.words.known == {DIGEST: True}
    await scene.purging.work()

    swept = await scene.purging.look(QUERY)
    assert (swept.state, swept.data) == (PurgeState.SETTLING, UserData())
    copy = scene.copies.held[key.digest].copy
    assert copy is not None
    assert copy.revoked
    assert copy.user_id != USER
    assert scene.traces.letters == [USER]
    assert scene.traces.holders == [(USER, [key.key_id])]

    scene.now = LATER + 2 * SLACK - timedelta(seconds=1)
    await scene.purging.work()
    assert await scene.state() is PurgeState.SETTLING
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    assert await scene.state() is PurgeState.PURGED
    assert scene.words.known == {DIGEST: False}
    assert USER not in scene.store.marks[DIGEST].model_dump_json()


async def test_what_was_under_way_meanwhile_goes_with_the_second_pass() -> None:
    scene, turn = Scene(), Turn()
    await scene.store.create(session())
    await scene.recorder.record(turn.accepted(), NOON)
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    # Its end and its frames come when everything of it is gone; so does a command of before.
    scene.traces.requests.append(turn.completion_id)
    await scene.store.create(session(2))

    scene.now = LATER + 2 * SLACK
    await scene.purging.work()

    assert turn.completion_id in scene.traces.frames[-1]
    assert scene.traces.requests == []
    assert await scene.left() == UserData()


async def test_frames_of_a_completion_whose_event_was_dropped_go_all_the_same() -> None:
    """It came after the order, and is in no log and no document that a pass could find it by."""
    scene, first, second = Scene(), Turn(), Turn()
    await scene.purging.begin(COMMAND)
    assert not await scene.recorder.record(first.accepted(), NOON)
    scene.traces.hold_back = asyncio.Event()
    pass_one = asyncio.create_task(scene.purging.work())
    await scene.traces.reached.wait()
    assert not await scene.recorder.record(second.accepted(), NOON)
    scene.traces.hold_back.set()
    await pass_one
    assert {first.completion_id, second.completion_id} <= scene.traces.frames[0]

    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    assert {first.completion_id, second.completion_id} <= scene.traces.frames[-1]
    assert scene.store.marks[DIGEST].running is None


async def test_requests_are_left_to_their_gateways_until_the_second_pass() -> None:
    scene, turn = Scene(), Turn()
    scene.traces.requests.append(turn.completion_id)
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    assert scene.traces.requests == [turn.completion_id]


async def test_an_event_that_comes_late_is_neither_stored_nor_kept_in_the_log() -> None:
    scene, turn = Scene(), Turn()
    await scene.say(turn)
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()

    log, letters = MemoryLog(), MemoryDeadLetters()
    log.events = [raw(turn.completed(), NOON, 1)]
    told = Told()
    news = TurnNews(scene.store, scene.store, News(told))
    intake = Intake(scene.recorder, news, letters, log, on_stored=lambda _size: None)
    delivery = RecordingDelivery(log.events[0])
    await intake.take(delivery)

    assert delivery.calls == ["done"]
    assert log.events == []
    assert told.events == []
    assert await scene.left() == UserData()


class Overtaken(MemoryStore):
    """Much happens between one look for a removal and what follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def purge_of(self, user_id: UserId) -> PurgeMark | None:
        found = await super().purge_of(user_id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


@pytest.mark.parametrize("half", ["accepted", "completed"])
async def test_a_recorder_that_is_frozen_until_a_purge_is_over_leaves_nothing(half: str) -> None:
    store = Overtaken()
    scene, turn, others = Scene(store), Turn(), Turn(user_id=OTHER)
    await scene.store.create(session())
    await scene.recorder.record(others.completed(), NOON)
    before = scene.store.everything()["usage"]

    async def purge() -> None:
        await scene.purging.begin(COMMAND)
        await scene.go_through()

    store.meanwhile = purge
    event = turn.accepted() if half == "accepted" else turn.completed()
    assert not await scene.recorder.record(event, NOON)

    assert await scene.state() is PurgeState.PURGED
    assert await scene.left() == UserData()
    assert scene.store.everything()["usage"] == before


async def test_who_comes_back_afterwards_is_a_new_user() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()

    again = Turn().completed()
    later = again.model_copy(update={"created_at": LATER + SLACK, "place": None})
    assert await scene.recorder.record(later, scene.now)
    assert (await scene.left()).usage == 1


async def test_another_user_keeps_everything() -> None:
    scene = Scene()
    await scene.say(Turn(user_id=OTHER))
    before = scene.store.everything()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    assert scene.store.everything() == before


async def test_a_pass_that_was_cut_off_is_done_again() -> None:
    scene = Scene()
    await scene.say(Turn())
    await scene.key()
    await scene.purging.begin(COMMAND)
    scene.traces.failures = 1
    await scene.purging.work()
    assert await scene.state() is PurgeState.REMOVING

    scene.clock += 1
    await scene.purging.work()
    assert await scene.state() is PurgeState.SETTLING
    assert await scene.left() == UserData()


async def test_asking_again_while_it_goes_on_changes_nothing_and_later_begins_anew() -> None:
    scene = Scene()
    first = await scene.purging.begin(COMMAND)
    scene.now = LATER + SLACK
    assert (await scene.purging.begin(COMMAND)).settles_at == first.settles_at
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    assert await scene.state() is PurgeState.PURGED

    again = await scene.purging.begin(COMMAND)
    assert again.state is PurgeState.REMOVING
    assert again.begun_at == scene.now


async def test_a_broker_that_is_away_is_told_and_the_purge_is_done_later() -> None:
    scene = Scene()
    await scene.say(Turn())
    scene.words.available = False
    with pytest.raises(HistoryUnavailable):
        await scene.purging.begin(COMMAND)
    scene.words.available = True
    await scene.purging.work()
    assert scene.words.known == {DIGEST: True}
    assert await scene.left() == UserData()


async def test_gateways_that_hear_late_have_as_long_to_end_what_they_accepted() -> None:
    scene = Scene()
    scene.words.available = False
    with pytest.raises(HistoryUnavailable):
        await scene.purging.begin(COMMAND)
    # All histories are away, and the user goes on meanwhile.
    heard = scene.now = LATER + timedelta(minutes=30)
    scene.words.available = True
    for _ in range(3):
        await scene.purging.work()
    seen = await scene.purging.look(QUERY)
    assert (seen.state, seen.settles_at) == (PurgeState.SETTLING, heard + 2 * SLACK)
    scene.now = heard + 2 * SLACK
    await scene.purging.work()
    assert await scene.state() is PurgeState.PURGED

    running = Turn().completed().model_copy(update={"created_at": heard, "place": None})
    assert not await scene.recorder.record(running, scene.now)
    assert await scene.left() == UserData()


async def test_whose_key_it_was_does_not_come_back_with_mending_or_a_late_revocation() -> None:
    scene = Scene()
    key = await scene.key()
    record = scene.key_store.keys[key.key_id]
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    # Somebody who had read the record revokes it now.
    revoked = record.model_copy(update={"revoked_at": record.created_at})
    await scene.copies.put(key.digest, revoked.to_copy())

    await KeyCopying(
        scene.key_store, scene.copies, clock=lambda: 0.0, before=scene.telling.say
    ).mend()

    copy = scene.copies.held[key.digest].copy
    assert copy is not None
    assert copy.revoked
    assert copy.user_id != USER
    assert scene.key_store.keys == {}
    with pytest.raises(Exception, match="no such key"):
        await scene.keys.revoke(RevokeKey(key_id=key.key_id))


async def test_marks_are_forgotten_when_no_event_of_before_can_come_any_more() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.marks.forget(2**60)
    assert DIGEST in scene.marks.marks, "it is under way"
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    await scene.marks.forget(2**60)
    assert scene.marks.marks == {}


class Uncountable(MemoryUserStore):
    """So much that it takes for ever."""

    async def count(self, user_id: UserId) -> UserData:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_order_is_answered_without_counting_and_what_there_was_is_told_later() -> None:
    scene = Scene()
    await scene.say(Turn())
    await scene.key()
    there = await scene.left()
    begun = await scene.purging.begin(COMMAND)
    assert (begun.data, begun.found) == (None, None)

    await scene.go_through()

    seen = await scene.purging.look(UserDataQuery(user_id=USER, counted=False))
    assert (seen.state, seen.data) == (PurgeState.PURGED, None)
    assert seen.found == there
    assert there.messages == 2
    again = await scene.purging.begin(COMMAND)
    assert again.found is None


async def test_an_order_does_not_wait_for_a_store_that_counts_for_ever() -> None:
    scene = Scene()
    scene.users = Uncountable(scene.store, MemoryPresetStore(), MemorySettingsStore())
    purging = scene.process("one")
    async with asyncio.timeout(1):
        begun = await purging.begin(COMMAND)
        looked = await purging.look(UserDataQuery(user_id=USER, counted=False))
    assert begun.state is looked.state is PurgeState.REMOVING


async def test_what_was_counted_for_keys_goes_with_the_second_pass_too() -> None:
    scene = Scene()
    key = await scene.key()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    assert scene.key_store.keys == {}

    scene.now = LATER + 2 * SLACK
    await scene.purging.work()

    assert scene.traces.holders == [(USER, [key.key_id]), (USER, [key.key_id])]
    assert key.key_id not in scene.store.marks[DIGEST].model_dump_json()


async def test_one_that_fails_is_tried_later_each_time_and_holds_nobody_up() -> None:
    scene = Scene()
    await scene.say(Turn(user_id=OTHER))
    scene.traces.fails_for = {USER}
    await scene.purging.begin(COMMAND)
    await scene.purging.begin(PurgeUser(user_id=OTHER))
    with capture_logs() as said:
        for _ in range(3):
            await scene.purging.work()
    other = await scene.purging.look(UserDataQuery(user_id=OTHER))
    assert (other.state, other.data) == (PurgeState.SETTLING, UserData())
    assert await scene.state() is PurgeState.REMOVING

    tried = scene.traces.tried[USER]
    assert tried == 1
    for after in (1, 2, 4, 8, 16, 30, 30):
        scene.clock += after - 0.5
        with capture_logs() as early:
            await scene.purging.work()
        assert early == []
        scene.clock += 0.5
        with capture_logs() as later:
            await scene.purging.work()
        said += later
        tried += 1
        assert scene.traces.tried[USER] == tried
    told = [it for it in said if it["event"] == "purge_postponed"]
    assert [it["seconds"] for it in told] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert {it["purge"] for it in told} == {DIGEST}

    scene.traces.fails_for = set()
    scene.clock += 30
    await scene.purging.work()
    assert await scene.state() is PurgeState.SETTLING


async def test_a_surprise_in_one_holds_nobody_up_either() -> None:
    scene = Scene()
    scene.traces.surprises_for = {USER}
    await scene.purging.begin(COMMAND)
    await scene.purging.begin(PurgeUser(user_id=OTHER))
    with capture_logs() as said:
        await scene.purging.work()
        await scene.purging.work()
    assert scene.store.marks[user_digest(OTHER)].swept_at is not None
    assert await scene.state() is PurgeState.REMOVING
    assert scene.traces.tried[USER] == 1
    (told,) = [it for it in said if it["event"] == "purge_failed"]
    assert (told["purge"], told["seconds"]) == (DIGEST, 1)


async def test_a_process_that_ends_before_it_says_so_lets_the_user_in_and_keeps_what_is_new() -> (
    None
):
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    scene.words.silent = True
    await scene.purging.work()
    assert scene.words.known == {DIGEST: True}, "it ended before it could say so"
    scene.words.silent = False

    successor = scene.process("two")
    await scene.telling.mend()
    assert scene.words.known == {DIGEST: False}
    await scene.store.create(session(7))
    scene.clock += 60
    await successor.work()

    assert (await scene.left()).sessions == 1


async def test_a_slow_process_removes_nothing_of_who_was_let_in_again() -> None:
    scene = Scene()
    await scene.say(Turn())
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    slow, quick = scene.process("slow"), scene.process("quick")
    scene.traces.hold_back = asyncio.Event()
    await slow.work()
    assert scene.traces.reached.is_set()
    # It says nothing for a long time, so another one goes on.
    await quick.work()
    scene.clock += 6
    held_back, scene.traces.hold_back = scene.traces.hold_back, None
    await quick.work()
    assert await scene.state() is PurgeState.PURGED
    await scene.store.create(session(7))

    held_back.set()
    await slow.work()

    assert (await scene.left()).sessions == 1
    assert scene.words.known == {DIGEST: False}


class Frozen(MemoryUserStore):
    """Its process is frozen between two batches of one step."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.store, MemoryPresetStore(), MemorySettingsStore())
        self.woken, self.reached = asyncio.Event(), asyncio.Event()

    async def hide(self, user_id: UserId) -> None:
        await super().hide(user_id)
        self.reached.set()
        await self.woken.wait()
        await super().hide(user_id)


async def test_a_process_that_wakes_up_within_a_step_does_not_go_on_with_it() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    quick = scene.process("quick")
    users = scene.users = Frozen(scene)
    frozen = scene.process("frozen")
    await frozen.work()
    assert users.reached.is_set()
    await quick.work()
    scene.clock += 6
    await quick.work()
    assert await scene.state() is PurgeState.PURGED
    await scene.store.create(session(7))

    users.woken.set()
    await frozen.work()

    assert scene.store.purging == set()
    assert (await scene.left()).sessions == 1


async def test_of_two_processes_one_works_on_it_while_it_lives() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    scene.traces.hold_back = asyncio.Event()
    one, two = scene.process("one"), scene.process("two")
    await one.work()
    for _ in range(3):
        scene.clock += 5
        mark = scene.store.marks[DIGEST]
        # As its beat does.
        assert await scene.marks.hold(mark, "one", (mark.beat or 0) + 1)
        await two.work()
    assert scene.store.marks[DIGEST].holder == "one"
    assert scene.traces.tried[USER] == 1
    await one.stop()


async def test_a_word_without_a_mark_is_taken_back_and_one_with_a_mark_stays() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.begin(PurgeUser(user_id=OTHER))
    # The database is set back to a backup of before.
    del scene.store.marks[DIGEST]
    await scene.telling.mend()
    assert scene.words.known == {DIGEST: False, user_digest(OTHER): True}


async def test_a_word_that_is_said_anew_while_words_are_mended_stays() -> None:
    scene = Scene()

    class Late(MemoryPurgeMarks):
        """A purge begins between the look for marks and the taking back."""

        async def under_way(self) -> list[PurgeMark]:
            found = await super().under_way()
            await scene.words.take_back(DIGEST, (await scene.words.said())[DIGEST])
            await scene.purging.begin(COMMAND)
            return found

    await scene.words.under_way(DIGEST)
    await PurgeTelling(Late(scene.store.marks), scene.words).mend()
    assert scene.words.known == {DIGEST: True}


class Answering(MemoryPurgeMarks):
    """Something happens between an answer of the database and its coming here."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.store.marks)
        self.listed: Callable[[], Awaitable[None]] | None = None
        self.finished: Callable[[], Awaitable[object]] | None = None

    async def under_way(self) -> list[PurgeMark]:
        found, listed = await super().under_way(), self.listed
        self.listed = None
        if listed is not None:
            await listed()
        return found

    async def finish(self, digest: str, holder: str, at: int) -> bool:
        done, finished = await super().finish(digest, holder, at), self.finished
        self.finished = None
        if finished is not None:
            await finished()
        return done


async def test_who_was_let_in_since_a_process_has_looked_is_not_shut_out_by_it() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    other = scene.process("other")
    marks = scene.marks = Answering(scene)
    late = scene.process("late")
    marks.listed = other.work

    await late.work()

    assert await scene.state() is PurgeState.PURGED
    assert scene.words.known == {DIGEST: False}


async def test_who_is_to_go_again_as_soon_as_a_purge_is_over_is_not_let_in() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    marks = scene.marks = Answering(scene)
    marks.finished = lambda: scene.purging.begin(COMMAND)

    await scene.process("other").work()

    assert await scene.state() is PurgeState.REMOVING
    assert scene.words.known == {DIGEST: True}


async def test_a_broker_that_lost_its_store_hears_of_it_again_until_it_is_over() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.words.known.clear()
    await scene.purging.work()
    assert scene.words.known == {DIGEST: True}

    # And before gateways hear that they know all keys.
    scene.words.known.clear()
    await KeyCopying(
        scene.key_store, scene.copies, clock=lambda: 0.0, before=scene.telling.say
    ).mend()
    assert scene.copies.complete
    assert scene.words.known == {DIGEST: True}


async def test_no_key_is_made_for_who_goes_and_again_when_it_is_over() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)

    class Untouched(MemoryKeyStore):
        """Not even for a moment."""

        async def create(self, key: KeyRecord) -> KeyRecord:
            raise AssertionError(key)

    early = ApiKeys(
        Untouched(), scene.copies, scene.store, now=lambda: scene.now, doubted=lambda: None
    )
    wanted = CreateKey(user_id=USER, key_id=new_key_id(), digest="d" * 64, prefix="pk-abcdefgh")
    for _ in range(2):
        with pytest.raises(UserLeaving, match="is being removed"):
            await early.create(wanted)
        await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()
    assert await scene.state() is PurgeState.PURGED
    made = await scene.key()
    assert set(scene.key_store.keys) == {made.key_id}


async def test_a_key_whose_user_begins_to_go_while_it_is_made_is_not_left() -> None:
    scene = Scene()

    class Late(MemoryKeyStore):
        """All of the purge but its end passes between the look and the write."""

        async def create(self, key: KeyRecord) -> KeyRecord:
            await scene.purging.begin(COMMAND)
            await scene.purging.work()
            return await super().create(key)

    store, doubts = Late(), []
    keys = ApiKeys(
        store,
        scene.copies,
        scene.store,
        now=lambda: scene.now,
        doubted=lambda: doubts.append("copied by now?"),
    )
    with pytest.raises(UserLeaving):
        await keys.create(
            CreateKey(user_id=USER, key_id=new_key_id(), digest="d" * 64, prefix="pk-abcdefgh")
        )
    assert store.keys == {}
    assert scene.copies.held == {}
    assert doubts == ["copied by now?"]


async def test_the_audit_says_how_many_keys_let_somebody_in_until_then() -> None:
    scene = Scene()
    revoked = await scene.key()
    await scene.keys.revoke(RevokeKey(key_id=revoked.key_id))
    await scene.key()
    await scene.key()
    await scene.purging.begin(COMMAND)
    # Cut off in the middle of its first pass, when they are revoked already.
    scene.traces.failures = 1
    await scene.purging.work()
    scene.clock += 1
    with capture_logs() as said:
        await scene.go_through()
    (told,) = [it for it in said if it.get("action") == "user.purged"]
    assert (told["count"], told["user"]) == (2, USER)


async def test_a_hold_is_renewed_while_it_lasts_and_its_work_is_cut_off_when_it_is_lost() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    scene.traces.hold_back = asyncio.Event()
    await scene.purging.work()
    first = scene.store.marks[DIGEST]
    await eventually(lambda: scene.store.marks[DIGEST].beat != first.beat)

    assert await scene.marks.hold(scene.store.marks[DIGEST], "another", 1)
    with capture_logs() as said:
        # By the beat: it waits for an answer of the broker's.
        await eventually(lambda: "purge_hold_lost" in {it["event"] for it in said})
    assert not scene.traces.hold_back.is_set()
    assert scene.store.marks[DIGEST].holder == "another"
    assert scene.store.marks[DIGEST].swept_at is None
