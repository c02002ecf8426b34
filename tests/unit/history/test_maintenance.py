"""Sweeping, purging and what outlives errors."""

import asyncio
from datetime import timedelta

import pytest

from services.history.background import Background, again_and_again, until_done
from services.history.event_ports import RawEvent
from services.history.purger import Purger
from services.history.recorder import Recorder
from services.history.retention import Retention
from services.history.sweeper import Sweeper
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.errors import HistoryUnavailable
from tests.fakes.history.conversation import NOON, SESSION, USER, Turn
from tests.fakes.history.log import MemoryLog, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_users import MemoryPurgeMarks
from tests.support.waiting import eventually
from tests.unit.history.test_recorder import START, record, store_with_session

SLACK = timedelta(seconds=60)


def _sweeper(store: MemoryStore, log: MemoryLog, after: timedelta) -> Sweeper:
    return Sweeper(store, log, Recorder(store), slack=SLACK, now=lambda: NOON + after)


async def test_an_accepted_without_an_end_is_closed_once_its_deadlines_and_slack_are_over() -> None:
    store, log, turn = store_with_session(), MemoryLog(), Turn()
    await record(store, turn.accepted(overdue_after_s=100))

    assert await _sweeper(store, log, timedelta(seconds=160)).sweep() == 0
    assert await _sweeper(store, log, timedelta(seconds=161)).sweep() == 1

    end = CompletionCompleted.from_bytes(log.events[0].data)
    assert (end.completion_id, end.user_id, end.model) == (turn.completion_id, USER, "demo")
    assert (end.status, end.place) == (CompletionStatus.FAILED, turn.place)
    assert end.error is not None
    assert end.error.code == "worker_lost"
    assert end.created_at == turn.begin


async def test_a_completion_with_an_end_is_left_alone() -> None:
    store, log, turn = store_with_session(), MemoryLog(), Turn()
    await record(store, turn.completed(), turn.accepted(overdue_after_s=0))

    assert await _sweeper(store, log, timedelta(days=1)).sweep() == 0
    assert log.events == []


async def test_an_end_that_was_published_and_not_stored_is_stored_not_replaced() -> None:
    store, turn = store_with_session(), Turn()
    log = MemoryLog([raw(turn.completed(), NOON)])
    await record(store, turn.accepted(overdue_after_s=0))

    assert await _sweeper(store, log, timedelta(days=1)).sweep() == 0

    assert len(log.events) == 1
    assert turn.answer in store.stored_messages


async def test_an_end_that_cannot_be_stored_does_not_keep_others_from_being_closed() -> None:
    store, bad, good = store_with_session(), Turn(), Turn(2)
    log = MemoryLog([raw(bad.completed(completed_at=NOON.replace(tzinfo=None)), NOON)])
    await record(store, bad.accepted(overdue_after_s=0), good.accepted(overdue_after_s=0))

    assert await _sweeper(store, log, timedelta(days=1)).sweep() == 1

    assert log.events[-1].subject.endswith(good.completion_id)


def _events(count: int, *, size: int = 100) -> list[RawEvent]:
    return [RawEvent("chat.events.x", n, NOON, b"x" * size) for n in range(1, count + 1)]


def _purger(log: MemoryLog, *, after: timedelta = timedelta()) -> Purger:
    return Purger(log, keep=timedelta(hours=1), now=lambda: NOON + after)


async def test_stored_events_stay_for_an_hour_while_there_is_room() -> None:
    log = MemoryLog(_events(10), max_size=10_000)
    log.floor = 10

    await _purger(log, after=timedelta(minutes=59)).purge()
    assert len(log.events) == 10
    await _purger(log, after=timedelta(minutes=61)).purge()
    assert log.events == []


async def test_a_log_that_is_half_full_loses_its_older_stored_events() -> None:
    log = MemoryLog(_events(10), max_size=1500)
    log.floor = 10

    await _purger(log).purge()

    assert [event.sequence for event in log.events] == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("after", [timedelta(), timedelta(days=1)])
async def test_what_is_not_stored_is_never_purged_however_full_or_old(after: timedelta) -> None:
    log = MemoryLog(_events(10), max_size=1000)
    log.floor = 4

    await _purger(log, after=after).purge()

    assert [event.sequence for event in log.events] == [5, 6, 7, 8, 9, 10]


async def test_a_purge_comes_early_when_much_has_been_stored() -> None:
    purger = _purger(MemoryLog(max_size=16_000))
    await purger.purge()
    due = asyncio.create_task(purger.due(3600))

    purger.stored(999)
    await asyncio.sleep(0)
    assert not due.done()
    purger.stored(1)

    await asyncio.wait_for(due, 1)


@pytest.mark.parametrize(("purge_after", "left"), [(30, 0), (31, 1), (0, 1)])
async def test_a_deleted_session_goes_for_good_after_the_days_of_the_setting(
    purge_after: int, left: int
) -> None:
    store = store_with_session()
    await store.delete(USER, SESSION, START - 1)
    retention = Retention(
        store,
        MemoryPurgeMarks({}),
        purge_after=timedelta(days=purge_after),
        now=lambda: NOON + timedelta(days=30),
    )

    await retention.purge()

    assert len(store.sessions) == left


@pytest.mark.parametrize(("hours", "left"), [(23, 1), (25, 0)])
async def test_a_copy_that_was_never_finished_goes_after_a_day_whatever_the_setting(
    hours: int, left: int
) -> None:
    store = MemoryStore()
    await store.form(store_with_session().sessions[SESSION])
    for keep in (timedelta(0), timedelta(minutes=1)):
        retention = Retention(
            store,
            MemoryPurgeMarks({}),
            purge_after=keep,
            now=lambda: NOON + timedelta(hours=hours),
        )
        await retention.purge()

    assert len(store.sessions) == left


async def test_work_is_tried_again_until_it_is_done() -> None:
    failures = [HistoryUnavailable("away"), KeyError("bug"), None]

    async def work() -> None:
        if (failure := failures.pop(0)) is not None:
            raise failure

    await until_done("work", work, pause=0)

    assert failures == []


async def test_a_part_that_dies_is_told_and_one_that_ends_or_is_stopped_is_not() -> None:
    deaths: list[int] = []
    background = Background(lambda: deaths.append(1))
    dead = asyncio.Event()

    async def dying() -> None:
        await dead.wait()
        raise KeyError("bug")

    background.start("ends", asyncio.sleep(0))
    background.start("dies", dying())
    background.start("lives", asyncio.Event().wait())
    await asyncio.sleep(0)
    assert deaths == []
    dead.set()
    await eventually(lambda: deaths == [1])

    await background.stop()
    assert deaths == [1]


async def test_periodic_work_outlives_an_error() -> None:
    done: list[int] = []
    twice = asyncio.Event()

    async def due() -> None:
        await asyncio.sleep(0)

    async def work() -> None:
        done.append(1)
        if len(done) == 3:
            twice.set()
            raise KeyError("bug")

    task = asyncio.create_task(again_and_again("work", work, due))
    await asyncio.wait_for(twice.wait(), 5)
    await asyncio.sleep(0)

    assert not task.done()
    task.cancel()
