"""The offer follows what the engine has and what the broker has queues for."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from services.inference_worker.lanes import Source
from services.inference_worker.offering import EngineView, Intervals, Offering, Worker
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement
from shared.errors import BrokerUnavailable, EngineError


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
        cards = [ModelCard(name=name) for name in self.models]
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
