"""Places for answers that run at once: as many as there are, freed whatever happens."""

import asyncio
from collections.abc import Callable

import pytest

from services.api.background import Background
from services.api.limits.leases import Lease, Leases
from shared.errors import BrokerUnavailable
from tests.fakes.api.limits import FakeSlots
from tests.fakes.api.ports import SetClock
from tests.support.waiting import eventually

HOLDER, OTHER = "a" * 64, "b" * 64


class Gateways:
    """Two of them, which meet in the same slots."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.slots = FakeSlots(self.clock)
        self.background = Background()
        self.one, self.two = (Leases(self.slots, self.background) for _ in range(2))

    async def take(self, leases: Leases, count: int, *, holder: str = HOLDER) -> list[Lease]:
        taking = (leases.take(holder, 3, f"owner-{n}-{id(leases)}") for n in range(count))
        return [lease for lease in await asyncio.gather(*taking) if lease is not None]


@pytest.fixture
def gateways() -> Gateways:
    return Gateways()


async def test_three_places_are_three_however_many_ask_at_two_gateways(gateways: Gateways) -> None:
    both = await asyncio.gather(gateways.take(gateways.one, 100), gateways.take(gateways.two, 100))
    assert sum(len(each) for each in both) == 3
    assert len(await gateways.take(gateways.one, 5, holder=OTHER)) == 3


async def test_a_place_that_was_freed_is_there_at_once_at_either_gateway(
    gateways: Gateways,
) -> None:
    first, *_ = await gateways.take(gateways.one, 3)
    assert await gateways.take(gateways.two, 1) == []
    await gateways.one.release(first)
    assert len(await gateways.take(gateways.two, 2)) == 1


async def test_renewing_keeps_a_place_and_who_stops_renewing_loses_it(gateways: Gateways) -> None:
    await gateways.take(gateways.one, 2)
    (dead,) = await gateways.take(gateways.two, 1)
    gateways.two.forget(dead)
    for _ in range(4):
        gateways.clock.time += 5
        await gateways.one.renew()
    assert gateways.slots.held == 2
    assert len(await gateways.take(gateways.two, 2)) == 1


async def test_a_lease_that_ran_out_while_the_broker_was_away_is_taken_again(
    gateways: Gateways,
) -> None:
    (lease,) = await gateways.take(gateways.one, 1)
    gateways.slots.away = True
    await gateways.one.renew()
    gateways.clock.time += 60
    gateways.slots.away = False
    assert gateways.slots.held == 0
    await gateways.one.renew()
    assert gateways.slots.held == 1
    await gateways.one.release(lease)
    assert gateways.slots.held == 0


async def test_a_lease_that_somebody_else_has_by_now_is_left_alone(gateways: Gateways) -> None:
    lost = await gateways.take(gateways.one, 3)
    gateways.clock.time += 60
    theirs = await gateways.take(gateways.two, 3)
    await gateways.one.renew()
    for lease in lost:
        await gateways.one.release(lease)
    assert gateways.slots.held == 3
    gateways.clock.time += 10
    await gateways.two.renew()
    gateways.clock.time += 10
    assert gateways.slots.held == len(theirs) == 3


async def test_a_broker_away_at_the_release_is_asked_again_until_it_is_free(
    gateways: Gateways,
) -> None:
    (lease,) = await gateways.take(gateways.one, 1)
    gateways.slots.away = True
    await asyncio.wait_for(gateways.one.release(lease), 0.2)
    gateways.slots.away = False
    await eventually(lambda: gateways.slots.held == 0)


async def test_a_release_that_is_cancelled_on_its_way_frees_the_place_for_everybody(
    gateways: Gateways,
) -> None:
    (lease,) = await gateways.take(gateways.one, 1)
    asked, goes_on = asyncio.Event(), asyncio.Event()
    release = gateways.slots.release

    async def slow(holder: str, slot: int, revision: int) -> bool:
        asked.set()
        await goes_on.wait()
        return await release(holder, slot, revision)

    gateways.slots.release = slow  # type: ignore[method-assign]
    releasing = asyncio.create_task(gateways.one.release(lease))
    await asked.wait()
    releasing.cancel()
    await asyncio.wait([releasing])
    goes_on.set()
    await eventually(lambda: gateways.slots.held == 0)
    # Its own gateway, too, knows that it is free.
    assert len(await gateways.take(gateways.one, 3)) == 3


async def test_a_place_that_may_have_been_taken_unheard_is_given_back(gateways: Gateways) -> None:
    class Deaf(FakeSlots):
        """Takes, and its answer is lost."""

        async def take(self, holder: str, slot: int, owner: str) -> int | None:
            await super().take(holder, slot, owner)
            raise BrokerUnavailable("no answer")

    slots = Deaf(gateways.clock)
    with pytest.raises(BrokerUnavailable):
        await Leases(slots, gateways.background).take(HOLDER, 3, "me")
    await eventually(_free(slots))


def _free(slots: FakeSlots) -> Callable[[], bool]:
    return lambda: slots.held == 0
