"""Everything of one user goes, in two passes, and stays away."""

from datetime import timedelta

import pytest

from services.history.api_keys import ApiKeys
from services.history.intake import Intake
from services.history.key_copying import KeyCopying
from services.history.news import News, TurnNews
from services.history.recorder import Recorder
from services.history.user_purging import UserPurging
from shared.contracts.api_keys import CreateKey, RevokeKey, new_key_id
from shared.contracts.user_purge import (
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    user_digest,
)
from shared.errors import BrokerUnavailable, HistoryUnavailable
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
)
from tests.fakes.history.records import session
from tests.fakes.history.told import Told

SLACK = timedelta(minutes=1)
LATER = NOON + timedelta(minutes=10)
"""When the purge is asked for: turns of the conversation begin at noon."""
DIGEST = user_digest(USER)
QUERY, COMMAND = UserDataQuery(user_id=USER), PurgeUser(user_id=USER)


class Scene:
    """One conversation of a user with a key, and all that a purge touches."""

    def __init__(self) -> None:
        self.store, self.traces, self.words = MemoryStore(), MemoryTraces(), MemoryWords()
        self.key_store, self.copies = MemoryKeyStore(), MemoryKeyCopies()
        self.marks = MemoryPurgeMarks(self.store.marks)
        self.now = LATER
        self.recorder = Recorder(self.store)
        self.keys = ApiKeys(self.key_store, self.copies, now=lambda: self.now, doubted=lambda: None)
        self.purging = UserPurging(
            self.marks,
            MemoryUserStore(self.store, MemoryPresetStore(), MemorySettingsStore()),
            self.key_store,
            self.copies,
            self.words,
            self.traces,
            slack=SLACK,
            now=lambda: self.now,
        )

    async def say(self, turn: Turn) -> None:
        await self.store.create(session(user_id=turn.user_id))
        await self.recorder.record(turn.accepted(), NOON)
        await self.recorder.record(turn.completed(), NOON)

    async def key(self) -> CreateKey:
        wanted = CreateKey(user_id=USER, key_id=new_key_id(), digest="d" * 64, prefix="pk-abcdefgh")
        await self.keys.create(wanted)
        return wanted

    async def state(self) -> PurgeState:
        return (await self.purging.look(QUERY)).state


async def test_before_it_is_asked_for_it_only_counts() -> None:
    scene = Scene()
    await scene.say(Turn())
    await scene.key()

    seen = await scene.purging.look(QUERY)
    await scene.purging.work()

    assert seen.state is PurgeState.NONE
    assert (seen.data.sessions, seen.data.usage, seen.data.keys) == (1, 1, 1)
    assert seen.data.messages == 2
    assert seen == await scene.purging.look(QUERY)
    assert not scene.words.said


async def test_the_first_pass_removes_all_and_the_second_lets_the_user_in_again() -> None:
    scene = Scene()
    await scene.say(Turn())
    key = await scene.key()

    begun = await scene.purging.begin(COMMAND)
    assert begun.state is PurgeState.REMOVING
    assert begun.settles_at == LATER + 2 * SLACK
    assert scene.words.said == {DIGEST: True}
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
    assert scene.words.said == {DIGEST: False}
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
    assert (await scene.purging.look(QUERY)).data == UserData()


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
    assert (await scene.purging.look(QUERY)).data == UserData()


async def test_who_comes_back_afterwards_is_a_new_user() -> None:
    scene = Scene()
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    scene.now = LATER + 2 * SLACK
    await scene.purging.work()

    again = Turn().completed()
    later = again.model_copy(update={"created_at": LATER + SLACK, "place": None})
    assert await scene.recorder.record(later, scene.now)
    assert (await scene.purging.look(QUERY)).data.usage == 1


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
    with pytest.raises(BrokerUnavailable):
        await scene.purging.work()
    assert await scene.state() is PurgeState.REMOVING

    await scene.purging.work()
    assert await scene.state() is PurgeState.SETTLING
    assert (await scene.purging.look(QUERY)).data == UserData()


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
    assert scene.words.said == {DIGEST: True}
    assert (await scene.purging.look(QUERY)).data == UserData()


async def test_whose_key_it_was_does_not_come_back_with_mending_or_a_late_revocation() -> None:
    scene = Scene()
    key = await scene.key()
    record = scene.key_store.keys[key.key_id]
    await scene.purging.begin(COMMAND)
    await scene.purging.work()
    # Somebody who had read the record revokes it now.
    revoked = record.model_copy(update={"revoked_at": record.created_at})
    await scene.copies.put(key.digest, revoked.to_copy())

    await KeyCopying(scene.key_store, scene.copies, clock=lambda: 0.0).mend()

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
