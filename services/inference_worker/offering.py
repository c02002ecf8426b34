"""Which models this worker offers: what its engine has, once the broker has a queue for it.

A worker whose engine is away stays ready and offers nothing, so that new requests are refused at
once instead of waiting for it.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from services.inference_worker.lanes import Source
from services.inference_worker.offering_ports import (
    Directory,
    EngineModels,
    EngineView,
    Intervals,
    Preflight,
    Worker,
)
from shared.contracts.subjects import LANES
from shared.contracts.workers import EngineRelisted, EngineState, ModelCard, WorkerAnnouncement
from shared.errors import BrokerUnavailable, EngineError, ServerShutdown

_LOST_AFTER: Final = 2
_AGAIN: Final = 1.0
_NAMED_FOR: Final = 3600.0
_SHORTEST_ACK_WAIT: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


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
        self._hurry = asyncio.Event()
        self._asked: list[asyncio.Future[EngineRelisted]] = []
        self._ended = False

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

    async def relist(self) -> EngineRelisted:
        """Have the engine looked at by a check that begins from now on, and the list announced.

        Those who ask while one is under way share the next.

        Raises:
            ServerShutdown: no check comes any more.
        """
        if self._ended:
            raise _stopping()
        asked: asyncio.Future[EngineRelisted] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._hurry.set()
        self._wake.set()
        return await asked

    async def keep_checking(self) -> None:
        """Look until cancelled; ``check()`` has been called once before."""
        try:
            while True:
                await self._pause()
                self._wake.clear()
                self._hurry.clear()
                asked = list(self._asked)
                await self.check()
                if asked:
                    # Also an unchanged one: the last time it may not have arrived.
                    await self.announce()
                    self._tell(asked)
        finally:
            self._ended = True
            for each in self._asked:
                if not each.done():
                    each.set_exception(_stopping())

    async def keep_announcing(self) -> None:
        """Announce until cancelled."""
        while True:
            await self.announce()
            await asyncio.sleep(self._announce_every)

    async def _pause(self) -> None:
        # What wakes it may come in a burst; who asks outright does not wait.
        await _within(_AGAIN, self._hurry)
        if not self._hurry.is_set():
            await _within(self._check_every if self.settled else _AGAIN, self._wake)

    def _tell(self, asked: Sequence[asyncio.Future[EngineRelisted]]) -> None:
        missing = [card.name for card in self._view.models if card.name not in self._ack_waits]
        error = self._view.state.error
        if error is None and missing:
            error = f"there is no queue for {', '.join(missing)}"
        relisted = EngineRelisted(worker_id=self._worker.id, models=self.models, error=error)
        for each in asked:
            self._asked.remove(each)
            if not each.done():
                each.set_result(relisted)

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


def _stopping() -> ServerShutdown:
    return ServerShutdown("The worker is stopping.")


async def _within(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
