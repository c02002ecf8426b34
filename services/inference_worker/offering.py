"""Which models this worker offers: what its engine has, once the broker has a queue for it.

A worker whose engine is away stays ready and offers nothing, so that new requests are refused at
once instead of waiting for it.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

import structlog

from services.inference_worker.lanes import Source
from shared.contracts.subjects import LANES
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement
from shared.errors import BrokerUnavailable, EngineError

_LOST_AFTER: Final = 2
_AGAIN: Final = 1.0
_NAMED_FOR: Final = 3600.0
_SHORTEST_ACK_WAIT: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


class EngineView(NamedTuple):
    """An engine and its models, as it answered just now."""

    state: EngineState
    models: Sequence[ModelCard]


class EngineModels(Protocol):
    """What an engine has."""

    async def look(self) -> EngineView:
        """Ask it.

        Raises:
            EngineError: it did not answer, or not sensibly.
        """
        ...


class Directory(Protocol):
    """Where gateways read who serves what, and where queues for models are made.

    Raises (every call):
        BrokerUnavailable: the broker, or who provisions, did not answer.
    """

    async def provision(self, model: str) -> float:
        """Have the queues of ``model`` made; gives their ack wait in seconds."""
        ...

    async def announce(self, announcement: WorkerAnnouncement) -> None:
        """Say what this worker offers; forgotten 12 s later."""
        ...

    async def remember(self, model: str) -> None:
        """Note that a model of this name exists; forgotten a day later."""
        ...

    async def withdraw(self, worker_id: str) -> None:
        """This worker offers nothing any more."""
        ...


class Preflight(Protocol):
    """Answers gateways that ask who serves a model."""

    async def serve(self, models: Collection[str]) -> None:
        """From now on answer for these models and no others."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """Who offers."""

    id: str
    engine_url: str
    slots: int
    free: Callable[[], int]
    take_from: Callable[[Sequence[Source]], None]
    """Told the queues to take requests from, each time they change."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often to look and to tell."""

    check: timedelta = timedelta(seconds=10)
    announce: timedelta = timedelta(seconds=4)


class Offering:
    """Keeps the offer equal to what can be served."""

    def __init__(
        self,
        worker: Worker,
        engine: EngineModels,
        directory: Directory,
        preflight: Preflight,
        intervals: Intervals,
    ) -> None:
        self._worker = worker
        self._engine = engine
        self._directory = directory
        self._preflight = preflight
        self._check_every = intervals.check.total_seconds()
        self._announce_every = intervals.announce.total_seconds()
        self._failures = 0
        self._view = EngineView(EngineState(url=worker.engine_url, ok=False), ())
        self._ack_waits: dict[str, float] = {}
        self._doubtful: set[str] = set()
        self._remembered: dict[str, float] = {}
        self._wake = asyncio.Event()

    @property
    def models(self) -> list[ModelCard]:
        """What is offered now."""
        return [card for card in self._view.models if card.name in self._ack_waits]

    @property
    def settled(self) -> bool:
        """Whether nothing asks for another look soon."""
        whole = len(self.models) == len(self._view.models)
        return whole and not self._failures and not self._doubtful

    def check_soon(self) -> None:
        """Somebody has found the engine to be different from what was seen last."""
        self._wake.set()

    def queue_missing(self, model: str) -> None:
        """The queue of a model that is offered is not there: a broker that lost its store."""
        self._doubtful.add(model)
        self._wake.set()

    async def check(self) -> None:
        """Look at the engine once, and bring the offer in line."""
        before = self._view, dict(self._ack_waits)
        self._view = await self._look()
        names = [card.name for card in self._view.models]
        self._ack_waits = {name: self._ack_waits[name] for name in names if name in self._ack_waits}
        # A model that is gone would stay in doubt for ever, and this loop in haste.
        self._doubtful.intersection_update(names)
        await asyncio.gather(*(self._provision(name) for name in names))
        if self._ack_waits != before[1]:
            await self._offer()
        if (self._view.models, self._view.state.ok, self._ack_waits) != (
            before[0].models,
            before[0].state.ok,
            before[1],
        ):
            await self.announce()

    async def announce(self) -> None:
        """Tell the gateways; a broker that is away is told the next time."""
        announcement = WorkerAnnouncement(
            worker_id=self._worker.id,
            slots=self._worker.slots,
            free=self._worker.free(),
            models=self.models,
            engine=self._view.state,
        )
        with suppress(BrokerUnavailable):
            await self._directory.announce(announcement)
            for card in self.models:
                await self._remember(card.name)

    async def withdraw(self) -> None:
        """Offer nothing: first no gateway shall choose this worker, then none shall find it."""
        with suppress(BrokerUnavailable):
            await self._directory.withdraw(self._worker.id)
        await self._preflight.serve(())
        self._worker.take_from(())

    async def keep_checking(self) -> None:
        """Look until cancelled; ``check()`` has been called once before."""
        while True:
            # What woke it may come in a burst.
            await asyncio.sleep(_AGAIN)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._check_every if self.settled else _AGAIN):
                    await self._wake.wait()
            self._wake.clear()
            await self.check()

    async def keep_announcing(self) -> None:
        """Announce until cancelled."""
        while True:
            await self.announce()
            await asyncio.sleep(self._announce_every)

    async def _look(self) -> EngineView:
        try:
            view = await self._engine.look()
        except EngineError as error:
            self._failures += 1
            if self._failures == 1:
                log.warning("engine_unreachable", error=error.message)
            state = EngineState(url=self._worker.engine_url, ok=False, error=error.message)
            # Once is a hiccup: an engine that loads a model may be slow to answer.
            return EngineView(state, self._view.models if self._failures < _LOST_AFTER else ())
        if self._failures:
            log.info("engine_reachable", version=view.state.version)
        self._failures = 0
        return view

    async def _provision(self, model: str) -> None:
        if model in self._ack_waits and model not in self._doubtful:
            return
        try:
            ack_wait = await self._directory.provision(model)
        except BrokerUnavailable as error:
            log.warning("model_not_provisioned", model=model, error=error.message)
            return
        self._doubtful.discard(model)
        if ack_wait < _SHORTEST_ACK_WAIT:
            # A heartbeat every few milliseconds would be needed to keep a request.
            log.error("ack_wait_too_short", model=model, ack_wait=ack_wait)
            return
        self._ack_waits[model] = ack_wait

    async def _offer(self) -> None:
        names = list(self._ack_waits)
        log.info("models_offered", models=names)
        self._worker.take_from(
            [Source(name, lane, self._ack_waits[name]) for name in names for lane in LANES]
        )
        await self._preflight.serve(names)

    async def _remember(self, model: str) -> None:
        now = time.monotonic()
        if now - self._remembered.get(model, -_NAMED_FOR) >= _NAMED_FOR:
            await self._directory.remember(model)
            self._remembered[model] = now
