"""How the gateway and what it needs are: one question to each, side by side."""

import asyncio
import time
from typing import NamedTuple

from services.api.catalog import Catalog
from services.api.ports import Broker
from services.api.session_ports import History
from shared.contracts.history import HistoryHealth
from shared.contracts.workers import WorkerAnnouncement
from shared.errors import BrokerUnavailable, HistoryUnavailable


class HistoryState(NamedTuple):
    """What history answered, how fast; ``None`` if it did not."""

    answer: HistoryHealth | None
    latency: float | None


class Report(NamedTuple):
    """Everything that was found; latencies in seconds."""

    nats_latency: float | None
    history: HistoryState
    workers: list[WorkerAnnouncement]

    @property
    def serves(self) -> bool:
        """Whether a completion could be served now: a broker, and a worker with an engine."""
        return self.nats_latency is not None and any(
            worker.engine.ok and worker.models for worker in self.workers
        )

    @property
    def flawless(self) -> bool:
        """Whether everything is as it should be."""
        answer = self.history.answer
        return (
            self.serves
            and answer is not None
            and answer.database_ok
            and all(worker.engine.ok for worker in self.workers)
        )


class Health:
    """Asks around."""

    def __init__(self, broker: Broker, history: History, catalog: Catalog) -> None:
        self._broker = broker
        self._history = history
        self._catalog = catalog

    async def check(self) -> Report:
        """Ask the broker and history at once; workers report themselves."""
        nats, history = await asyncio.gather(self._nats(), self._ask_history())
        return Report(nats, history, self._catalog.workers())

    async def _nats(self) -> float | None:
        try:
            return await self._broker.ping()
        except BrokerUnavailable:
            return None

    async def _ask_history(self) -> HistoryState:
        began = time.perf_counter()
        try:
            answer = await self._history.health()
        except (HistoryUnavailable, BrokerUnavailable):
            return HistoryState(None, None)
        return HistoryState(answer, time.perf_counter() - began)
