"""What happens to one delivered event: stored and acknowledged, held, or buried.

A database that is away is waited out, for hours if need be: the event stays in hand, and the
broker is told so. Only poison leaves the stream without being stored.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from services.history.event_format import Event, Poison, parse_event
from services.history.event_ports import DeadLetters, Delivery, EventEraser, RawEvent
from services.history.news import TurnNews
from services.history.recorder import Recorder
from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.messaging.jetstream import ApiError
from shared.tasks import end_tasks

ATTEMPTS: Final = 5
"""How often an error that is not the database's absence is tried before the event is buried."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_BURIAL_PAUSE: Final = 30.0

log = structlog.stdlib.get_logger(__name__)


class Intake:
    """Takes deliveries, one per caller at a time; any number of callers."""

    def __init__(
        self,
        recorder: Recorder,
        news: TurnNews,
        dead_letters: DeadLetters,
        event_log: EventEraser,
        *,
        on_stored: Callable[[int], None],
        heartbeat: float = 10.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wire it.

        Args:
            recorder: Stores events.
            news: Told of each event that is stored, before the broker is: should this process end
                between the two, the event comes again.
            dead_letters: Keeps poison.
            event_log: Keeps events; not those of users whose data was purged.
            on_stored: Told the size of each stored event.
            heartbeat: Seconds between two signs of life for an event in hand; well below the
                consumer's ``ack_wait``.
            pause: How to wait between two attempts.
        """
        self._recorder = recorder
        self._news = news
        self._dead_letters = dead_letters
        self._event_log = event_log
        self._on_stored = on_stored
        self._heartbeat = heartbeat
        self._pause = pause
        self._held = 0

    @property
    def holding(self) -> bool:
        """Whether events wait for a database that is away."""
        return self._held > 0

    async def take(self, delivery: Delivery) -> None:
        """Bring one event to its end; returns when the broker has been told."""
        raw = delivery.event
        try:
            event = parse_event(raw)
        except Poison as poison:
            await self._bury(delivery, str(poison))
            return
        async with _alive(delivery, self._heartbeat):
            reason = await self._store(event, raw)
        if reason is not None:
            await self._bury(delivery, reason)
            return
        self._on_stored(len(raw.data))
        await delivery.done()

    async def _store(self, event: Event, raw: RawEvent) -> str | None:
        """``None`` once it is stored, or why it never will be."""
        failures = 0
        held = False
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    if await self._recorder.record(event, raw.time):
                        await self._news.stored(event)
                    else:
                        await self._erase(raw)
                except HistoryUnavailable:
                    if not held:
                        held = True
                        self._held += 1
                        log.warning("history_waits", completion_id=event.completion_id)
                except Exception as error:
                    failures += 1
                    log.exception("event_failed", sequence=raw.sequence, failures=failures)
                    if failures == ATTEMPTS:
                        return f"{type(error).__name__} in {ATTEMPTS} attempts"
                else:
                    return None
                await self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._held -= held

    async def _erase(self, raw: RawEvent) -> None:
        log.info("late_event_dropped", sequence=raw.sequence)
        try:
            await self._event_log.erase(raw.subject)
        except (BrokerUnavailable, ApiError) as error:
            # It goes with its age: an hour after this at most.
            log.warning("late_event_not_erased", sequence=raw.sequence, error=str(error))

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        raw = delivery.event
        try:
            await self._dead_letters.bury(raw, reason)
        except (BrokerUnavailable, ApiError) as error:
            # It must not be dropped before it is kept elsewhere.
            log.exception("burial_failed", sequence=raw.sequence, error=str(error))
            await delivery.again(_BURIAL_PAUSE)
            return
        log.error("event_buried", sequence=raw.sequence, subject=raw.subject, reason=reason)
        await delivery.drop()


@asynccontextmanager
async def _alive(delivery: Delivery, interval: float) -> AsyncGenerator[None]:
    """Tell the broker every ``interval`` seconds that the event is in hand."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(interval)
            await delivery.in_progress()

    task = asyncio.create_task(beat(), name="history-heartbeat")
    try:
        yield
    finally:
        # Not ``await task``: that could not tell its cancellation from our own.
        await end_tasks([task])
