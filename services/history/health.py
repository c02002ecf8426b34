"""Is history well: does the database answer, and how much waits to be stored?"""

from collections.abc import Callable
from time import perf_counter

from services.history.event_ports import EventLog
from services.history.ports import SessionStore
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.messaging.jetstream import ApiError


class Health:
    """Answers in any state of the database and the stream."""

    def __init__(
        self,
        store: SessionStore,
        event_log: EventLog,
        *,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._store = store
        self._log = event_log
        self._clock = clock

    async def check(self, _query: HealthQuery) -> HistoryHealth:
        """Ping the database, count the backlog."""
        backlog = await self._backlog()
        begin = self._clock()
        try:
            await self._store.ping()
        except HistoryUnavailable:
            return HistoryHealth(backlog=backlog)
        latency = round((self._clock() - begin) * 1000, 1)
        return HistoryHealth(database_ok=True, database_latency_ms=latency, backlog=backlog)

    async def _backlog(self) -> int | None:
        try:
            progress = await self._log.progress()
        except (BrokerUnavailable, ApiError):
            return None
        return progress.waiting + progress.in_hand
