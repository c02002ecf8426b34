"""What somebody has spent: exact, or not answered at all."""

import asyncio
from collections.abc import Collection
from datetime import date

import pytest

from services.history.freshness import Freshness
from services.history.recorder import Recorder
from services.history.spending import Spending
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.usage import Spent, SpentQuery
from shared.errors import HistoryUnavailable
from tests.fakes.history.conversation import NOON, OTHER, USER, stateless
from tests.fakes.history.log import MemoryLog, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_usage import MemoryUsageStore
from tests.fakes.history.records import usage

MARCH = SpentQuery(user_id=USER, first=date(2026, 3, 1), last=date(2026, 3, 31))
LATE = stateless(9)


class Racing(MemoryUsageStore):
    """An end is stored while somebody adds up, so often."""

    def __init__(self, store: MemoryStore, times: int) -> None:
        super().__init__(store)
        self._recorder = Recorder(store)
        self.left = [stateless(number) for number in range(1, times + 1)]

    async def ended(
        self, user_id: UserId, completion_ids: Collection[CompletionId]
    ) -> set[CompletionId]:
        found = await super().ended(user_id, completion_ids)
        if self.left:
            await self._recorder.record(self.left.pop(), NOON)
        return found


class Scene:
    """A store; a pause of a reader stores what was published."""

    def __init__(self, *, races: int = 0, holding: bool = False, wait: float = 1) -> None:
        self.store, self.log = MemoryStore(), MemoryLog()
        self.usage = Racing(self.store, races)
        self._recorder = Recorder(self.store)
        self.stuck = False
        freshness = Freshness(
            self.store,
            self.log,
            self._recorder,
            holding=lambda: holding,
            wait=wait,
            pause=self._store,
        )
        self.spending = Spending(self.usage, freshness)

    async def _store(self, _seconds: float) -> None:
        await asyncio.sleep(0)
        if not self.stuck:
            await self._recorder.record(LATE, NOON)
            self.log.floor = len(self.log.events)

    def used(self, number: int, **changes: object) -> None:
        record = usage(id=CompletionId(f"chatcmpl-{number}"), **changes)
        self.store.usage[record.id] = record

    async def ask(self, *names: str, key_id: str | None = None) -> Spent:
        named = [CompletionId(name) for name in names]
        return await self.spending.spent(MARCH.model_copy(update={"open": named, "key_id": key_id}))


async def test_a_month_is_added_up_by_model_for_one_user_or_one_key() -> None:
    scene = Scene()
    scene.used(1, day="2026-03-01")
    scene.used(2, day="2026-03-31", key_id="k")
    scene.used(3, day="2026-03-31", model_used="big", day_model="2026-03-31|big")
    scene.used(4, day="2026-02-28")
    scene.used(5, day="2026-04-01")
    scene.used(6, user_id=OTHER, key_id="k")

    assert await scene.ask() == Spent(tokens=9, models={"demo": (2, 4), "big": (1, 2)})
    assert await scene.ask(key_id="k") == Spent(tokens=3, models={"demo": (1, 2)})


async def test_what_was_published_before_the_question_is_in_the_answer() -> None:
    scene = Scene()
    scene.log.events.append(raw(LATE, NOON))
    spent = await scene.ask(LATE.completion_id, "chatcmpl-running")
    assert (spent.tokens, spent.ended) == (10, [LATE.completion_id])


@pytest.mark.parametrize("holding", [True, False])
async def test_without_all_that_was_published_there_is_no_answer(holding: bool) -> None:
    scene = Scene(holding=holding, wait=0.05)
    scene.stuck = True
    scene.log.events.append(raw(LATE, NOON))
    with pytest.raises(HistoryUnavailable):
        await scene.ask()


@pytest.mark.parametrize("races", [1, 3])
async def test_an_end_that_is_stored_meanwhile_is_in_the_sum_and_among_the_ended(
    races: int,
) -> None:
    scene = Scene(races=races)
    names = [end.completion_id for end in scene.usage.left]
    spent = await scene.ask(*names)
    assert len(spent.ended) == spent.tokens // 10
    assert spent.tokens == 10 * races


async def test_when_ends_never_stop_coming_there_is_no_answer() -> None:
    scene = Scene(races=100)
    with pytest.raises(HistoryUnavailable, match="Too many answers"):
        await scene.ask(*(end.completion_id for end in scene.usage.left))


async def test_what_was_stored_and_purged_needs_no_consumer_that_remembers_it() -> None:
    scene = Scene()
    scene.used(1)
    scene.stuck = True
    scene.log.events.append(raw(LATE, NOON, 7))
    scene.log.last = 7
    await scene.log.purge(8)
    assert (await scene.ask()).tokens == 3


async def test_a_consumer_that_only_seems_quiet_is_not_believed() -> None:
    scene = Scene(wait=0.05)
    scene.stuck = True
    scene.log.events.append(raw(LATE, NOON))
    scene.log.deaf = True
    with pytest.raises(HistoryUnavailable, match="still being stored"):
        await scene.ask()
