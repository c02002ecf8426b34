"""The offer follows what the engine has and what the broker has queues for."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.inference_worker.lanes import Source
from services.inference_worker.offering import Offering
from services.inference_worker.offering_ports import EngineView, Intervals, Worker
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement
from shared.errors import BrokerUnavailable, EngineError, ServerShutdown


class Around:
    """Engine, directory and gateways of one worker."""

    def __init__(self, *models: str) -> None:
        self.models = list(models)
        self.engine_ok = True
        self.ack_wait = 10.0
        self.nobody_provisions = False
        self.provisioned: list[str] = []
        self.announced: list[WorkerAnnouncement] = []
        self.remembered: list[str] = []
        self.withdrawn: list[str] = []
        self.served: set[str] = set()
        self.sources: list[Source] = []
        self.looks = 0
        self.looking = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.offering = Offering(
            Worker("w1", "http://engine", 2, lambda: 1, self.take_from),
            self,
            self,
            self,
            Intervals(timedelta(seconds=10), timedelta(seconds=4)),
        )

    async def look(self) -> EngineView:
        """See ``EngineModels``."""
        if not self.engine_ok:
            raise EngineError("connection refused")
        self.looks += 1
        cards = [ModelCard(name=name) for name in self.models]
        self.looking.set()
        await self.gate.wait()
        return EngineView(EngineState(url="http://engine", ok=True), cards)

    async def provision(self, model: str) -> float:
        """See ``Directory``."""
        if self.nobody_provisions:
            raise BrokerUnavailable("nobody provisions")
        self.provisioned.append(model)
        return self.ack_wait

    async def announce(self, announcement: WorkerAnnouncement) -> None:
        """See ``Directory``."""
        self.announced.append(announcement)

    async def remember(self, model: str) -> None:
        """See ``Directory``."""
        self.remembered.append(model)

    async def withdraw(self, worker_id: str) -> None:
        """See ``Directory``."""
        self.withdrawn.append(worker_id)

    async def serve(self, models: Collection[str]) -> None:
        """See ``Preflight``."""
        self.served = set(models)

    def take_from(self, sources: Sequence[Source]) -> None:
        """The queues that are pulled from."""
        self.sources = list(sources)

    @property
    def in_catalog(self) -> list[str]:
        """What gateways read."""
        return [card.name for card in self.announced[-1].models]


async def test_what_the_engine_has_is_offered_everywhere_at_once() -> None:
    around = Around("m:latest")

    await around.offering.check()

    assert around.in_catalog == ["m:latest"]
    assert around.served == {"m:latest"}
    assert around.sources == [Source("m:latest", "a", 10.0), Source("m:latest", "b", 10.0)]
    assert around.remembered == ["m:latest"]
    assert around.announced[-1].engine.ok


async def test_a_model_without_a_queue_is_not_offered_until_it_has_one() -> None:
    around = Around("m:latest")
    around.nobody_provisions = True
    await around.offering.check()
    assert (around.served, around.sources) == (set(), [])
    assert around.in_catalog == []

    around.nobody_provisions = False
    await around.offering.check()
    assert around.in_catalog == ["m:latest"]


async def test_a_model_that_appears_is_offered_and_one_that_vanishes_is_not() -> None:
    around = Around("m:latest")
    await around.offering.check()

    around.models = ["n:latest"]
    await around.offering.check()

    assert around.in_catalog == ["n:latest"]
    assert around.served == {"n:latest"}
    assert {source.model for source in around.sources} == {"n:latest"}


async def test_an_engine_that_fails_once_is_a_hiccup_and_twice_is_away() -> None:
    around = Around("m:latest")
    await around.offering.check()
    around.engine_ok = False

    await around.offering.check()
    assert around.served == {"m:latest"}
    assert not around.announced[-1].engine.ok

    await around.offering.check()
    assert (around.served, around.sources, around.in_catalog) == (set(), [], [])

    around.engine_ok = True
    await around.offering.check()
    assert around.in_catalog == ["m:latest"]


async def test_an_engine_that_is_down_from_the_start_is_announced_as_down() -> None:
    around = Around("m:latest")
    around.engine_ok = False
    await around.offering.check()
    await around.offering.announce()
    assert (around.in_catalog, around.announced[-1].engine.ok) == ([], False)


async def test_a_queue_that_is_missing_is_asked_for_again_while_the_model_stays_offered() -> None:
    around = Around("m:latest")
    await around.offering.check()

    around.offering.queue_missing("m:latest")
    await around.offering.check()

    assert around.provisioned == ["m:latest", "m:latest"]
    assert around.served == {"m:latest"}


async def test_a_model_that_went_while_its_queue_was_in_doubt_leaves_no_haste_behind() -> None:
    around = Around("m:latest", "n:latest")
    await around.offering.check()

    around.offering.queue_missing("n:latest")
    assert not around.offering.settled
    around.models = ["m:latest"]
    await around.offering.check()

    assert around.offering.settled


async def test_a_queue_with_less_than_a_second_of_ack_wait_is_refused() -> None:
    around = Around("m:latest")
    around.ack_wait = 0.5
    await around.offering.check()
    assert around.served == set()


async def test_a_withdrawn_worker_is_found_by_nobody() -> None:
    around = Around("m:latest")
    await around.offering.check()

    await around.offering.withdraw()

    assert around.withdrawn == ["w1"]
    assert (around.served, around.sources) == (set(), [])


async def test_an_unchanged_offer_is_not_announced_again_by_a_check() -> None:
    around = Around("m:latest")
    await around.offering.check()
    await around.offering.check()
    assert len(around.announced) == 1


@asynccontextmanager
async def checking(around: Around) -> AsyncGenerator[asyncio.Task[None]]:
    """Its loop runs."""
    task = asyncio.create_task(around.offering.keep_checking())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_asks_gets_a_new_look_at_once_and_the_list_that_was_announced() -> None:
    around = Around("m:latest")
    await around.offering.check()
    async with checking(around), asyncio.timeout(0.5):
        around.models = ["m:latest", "n:latest"]
        relisted = await around.offering.relist()

    assert relisted.worker_id == "w1"
    assert [card.name for card in relisted.models] == around.in_catalog == ["m:latest", "n:latest"]
    assert relisted.error is None
    assert around.served == {"m:latest", "n:latest"}


async def test_an_unchanged_list_is_announced_again_to_who_asks() -> None:
    around = Around("m:latest")
    await around.offering.check()
    async with checking(around), asyncio.timeout(0.5):
        await around.offering.relist()
    assert len(around.announced) == 2


async def test_those_who_ask_together_cost_one_look() -> None:
    around = Around("m:latest")
    await around.offering.check()
    looks = around.looks
    async with checking(around), asyncio.timeout(0.5):
        replies = await asyncio.gather(*(around.offering.relist() for _ in range(5)))
    assert around.looks == looks + 1
    assert all(reply == replies[0] for reply in replies)


async def test_who_asks_during_a_look_gets_the_next_one() -> None:
    around = Around("m:latest")
    await around.offering.check()
    around.gate.clear()
    around.looking.clear()
    async with checking(around), asyncio.timeout(1):
        first = asyncio.create_task(around.offering.relist())
        await around.looking.wait()
        around.models = ["n:latest"]
        second = asyncio.create_task(around.offering.relist())
        await asyncio.sleep(0)
        around.gate.set()

        assert [card.name for card in (await first).models] == ["m:latest"]
        assert [card.name for card in (await second).models] == ["n:latest"]


async def test_an_engine_that_does_not_answer_and_a_model_without_a_queue_are_told() -> None:
    around = Around("m:latest")
    await around.offering.check()
    async with checking(around), asyncio.timeout(0.5):
        around.engine_ok = False
        away = await around.offering.relist()
        around.engine_ok = True
        around.nobody_provisions = True
        around.models = ["m:latest", "n:latest"]
        no_queue = await around.offering.relist()

    assert (away.error, [card.name for card in away.models]) == (
        "connection refused",
        ["m:latest"],
    )
    assert no_queue.error == "there is no queue for n:latest"
    assert [card.name for card in no_queue.models] == ["m:latest"]


async def test_who_asks_a_worker_that_stops_is_told_so() -> None:
    around = Around("m:latest")
    around.gate.clear()
    async with checking(around) as loop:
        asked = asyncio.create_task(around.offering.relist())
        await around.looking.wait()
        loop.cancel()
        with pytest.raises(ServerShutdown):
            await asked
    with pytest.raises(ServerShutdown):
        await around.offering.relist()
