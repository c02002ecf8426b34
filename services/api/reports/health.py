"""How the gateway and what it needs are: one question to each, side by side."""

import asyncio
import time
from typing import NamedTuple

from services.api.completions.catalog import Catalog
from services.api.ports.broker import Broker
from services.api.ports.sessions import History
from shared.contracts.history_health import HistoryHealth
from shared.contracts.workers import WorkerAnnouncement
from shared.errors import BrokerUnavailable, ChatError


class HistoryState(NamedTuple):
    """What history answered, how fast; ``None`` if it did not."""

    answer: HistoryHealth | None
    latency: float | None


class Serving(NamedTuple):
    """What a completion needs; latency in seconds."""

    nats_latency: float | None
    workers: list[WorkerAnnouncement]

    @property
    def serves(self) -> bool:
        """Whether a completion could be served now: a broker, and a worker with an engine."""
        return self.nats_latency is not None and any(
            worker.engine.ok and worker.models for worker in self.workers
        )

    @property
    def flawless(self) -> bool:
        """Whether every worker reaches its engine."""
        return self.serves and all(worker.engine.ok for worker in self.workers)


class Report(NamedTuple):
    """Everything that was found."""

    serving: Serving
    history: HistoryState

    @property
    def serves(self) -> bool:
        """Whether a completion could be served now."""
        return self.serving.serves

    @property
    def flawless(self) -> bool:
        """Whether everything is as it should be."""
        answer = self.history.answer
        return self.serving.flawless and answer is not None and answer.database_ok


class Health:
    """Asks around."""

    def __init__(self, broker: Broker, history: History, catalog: Catalog) -> None:
        self._broker = broker
        self._history = history
        self._catalog = catalog

    async def check(self) -> Report:
        """Ask the broker and history at once; workers report themselves."""
        serving, history = await asyncio.gather(self.serving(), self._ask_history())
        return Report(serving, history)

    async def serving(self) -> Serving:
        """Ask the broker alone; workers report themselves."""
        nats = await self._nats()
        return Serving(nats, self._catalog.workers())

    async def _nats(self) -> float | None:
        try:
            return await self._broker.ping()
        except BrokerUnavailable:
            return None

    async def _ask_history(self) -> HistoryState:
        began = time.perf_counter()
        try:
            answer = await self._history.health()
        except ChatError:
            return HistoryState(None, None)
        return HistoryState(answer, time.perf_counter() - began)
