"""Usage that several gateways count at once: exact, in few round trips, and never guessed."""

import asyncio
from collections.abc import Mapping

import pytest

from services.api.background import Background
from services.api.limits.metering import Metering
from services.api.limits.quota import Readings
from services.api.ports.limits import HeldMeter
from shared.errors import BrokerUnavailable
from tests.fakes.api.limits import FakeMeters
from tests.fakes.api.ports import SetClock

HOLDER = "a" * 64


def one_more(readings: Readings, now: int) -> tuple[Readings, int]:
    count = readings.get("count", now) + 1
    return {"count": count}, count - now


class Contended(FakeMeters):
    """Somebody else writes between each of our first reads and the write that follows it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def set(
        self, holder: str, readings: Mapping[str, int], revision: int | None, ttl: float
    ) -> bool:
        if self.times:
            self.times -= 1
            held = self.entries.get(holder)
            theirs = {"count": held.readings["count"] + 1} if held else {"count": 0}
            self.entries[holder] = HeldMeter(theirs, -self.times)
            return False
        return await super().set(holder, readings, revision, ttl)


def metering(store: FakeMeters) -> Metering:
    return Metering(store, SetClock(), Background())


async def test_two_hundred_at_once_are_counted_one_by_one_in_a_few_reads() -> None:
    store = FakeMeters()
    shared = metering(store)
    counts = await asyncio.gather(*(shared.change(HOLDER, one_more) for _ in range(200)))
    assert sorted(counts) == list(range(1, 201))
    assert store.reads <= 3


async def test_what_another_gateway_wrote_meanwhile_counts_too() -> None:
    store = Contended(times=5)
    before, now = await metering(store).look(HOLDER)
    assert before == {}
    await metering(store).change(HOLDER, one_more)
    assert store.entries[HOLDER].readings == {"count": 5}
    assert now > 0


async def test_a_broker_that_is_away_fails_all_who_wait_and_nobody_after_it_is_back() -> None:
    store = FakeMeters()
    shared = metering(store)
    store.away = True
    asking = [asyncio.create_task(shared.change(HOLDER, one_more)) for _ in range(10)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in found} == {BrokerUnavailable}
    store.away = False
    assert await shared.change(HOLDER, one_more) == 1


async def test_endless_contention_is_a_failure_and_not_a_yes() -> None:
    with pytest.raises(BrokerUnavailable):
        await metering(Contended(times=10_000)).change(HOLDER, one_more)


async def test_a_change_that_changes_nothing_writes_nothing() -> None:
    store = FakeMeters()
    assert await metering(store).change(HOLDER, lambda readings, _now: (readings, "no")) == "no"
    assert store.entries == {}


async def test_stopping_in_the_middle_leaves_nobody_waiting() -> None:
    class Silent(FakeMeters):
        async def get(self, holder: str) -> HeldMeter | None:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    background = Background()
    shared = Metering(Silent(), SetClock(), background)
    asking = asyncio.create_task(shared.change(HOLDER, one_more))
    await asyncio.wait({asking}, timeout=0)
    await background.aclose(0.01)
    with pytest.raises(BrokerUnavailable, match="stopping"):
        await asyncio.wait_for(asking, 1)
