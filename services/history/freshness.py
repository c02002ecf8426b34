"""Reads that follow an end see it: they wait for the consumer, or do its work themselves.

Recording is idempotent, so a reader that finds an event in the log and not in the store simply
records it; the consumer comes to the same documents later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from services.history.event_format import Event, Poison, parse_event
from services.history.event_ports import EventLog, RawEvent
from services.history.ports import TurnStore
from services.history.recorder import Recorder
from services.history.records import Known
from shared.contracts.events import CompletionAccepted
from shared.contracts.ids import CompletionId, is_completion_id
from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.messaging.jetstream import ApiError

_GLANCES: Final = (0.005, 0.01, 0.02, 0.04)
"""Pauses between looks at the store while the consumer is probably just storing the event.

The design allows 1.5 s here; recording the event at once costs less than waiting.
"""
_STEP: Final = 0.02

log = structlog.stdlib.get_logger(__name__)


class Freshness:
    """Brings the store up to what has been published."""

    def __init__(
        self,
        turns: TurnStore,
        event_log: EventLog,
        recorder: Recorder,
        *,
        holding: Callable[[], bool],
        wait: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wire it.

        Args:
            turns: Says what is stored.
            event_log: Holds what has been published.
            recorder: Stores what the reader finds first.
            holding: Whether the database is known to be away: then nobody waits for it.
            wait: Longest wait of ``everything``, in seconds.
            pause: How to wait between two looks.
        """
        self._turns = turns
        self._log = event_log
        self._recorder = recorder
        self._holding = holding
        self._wait = wait
        self._pause = pause

    async def completion(self, completion_id: CompletionId) -> None:
        """Return once the store holds what has been published of this completion.

        A completion that is still running has no end to wait for.

        Raises:
            HistoryUnavailable: the database is away.
        """
        if not is_completion_id(completion_id):
            # It would stand in a subject, where some characters mean more than themselves.
            return
        known = await self._turns.known(completion_id)
        if known.accepted and known.ended:
            return
        events = await self._published(completion_id)
        for pause in _GLANCES:
            events = [event for event in events if not _stored(event[0], known)]
            if not events:
                return
            await self._pause(pause)
            known = await self._turns.known(completion_id)
        for event, raw in events:
            if not _stored(event, known):
                await self._record(event, raw)

    async def everything(self) -> None:
        """Return once all that is published now is stored, or after ``wait`` seconds.

        Never raises: a list without the newest turn is better than none.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._caught_up()
        except TimeoutError:
            log.warning("list_did_not_wait_longer")
        except (BrokerUnavailable, ApiError) as error:
            log.warning("list_cannot_tell_what_is_stored", error=str(error))

    async def all_of_it(self) -> None:
        """Return once all that is published now is stored, as ``everything``, but never before.

        Raises:
            HistoryUnavailable: it is not, or nobody can tell.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._surely_caught_up()
        except TimeoutError as error:
            message = "What was used is still being stored; try again in a moment."
            raise HistoryUnavailable(message) from error
        except (BrokerUnavailable, ApiError) as error:
            message = "History cannot tell whether all that was used is stored; try again."
            raise HistoryUnavailable(message) from error

    async def _surely_caught_up(self) -> None:
        target = (await self._log.state()).last_sequence
        while not self._holding():
            # What was purged was stored. That a consumer seems quiet is no proof: it hears of a
            # new event a moment later than who has published it.
            stored = (await self._log.state()).first_sequence - 1
            if stored >= target or (await self._log.progress()).floor >= target:
                return
            await self._pause(_STEP)
        raise HistoryUnavailable("The database is away, and what was used waits to be stored.")

    async def _caught_up(self) -> None:
        target = (await self._log.state()).last_sequence
        quiet = 0
        while not self._holding():
            progress = await self._log.progress()
            # The second sign covers a consumer that was made anew above what was purged; the
            # server counts a new message as waiting a moment after it has acknowledged it, so
            # one look is not enough for that one.
            quiet = quiet + 1 if progress.quiet else 0
            if progress.floor >= target or quiet > 1:
                return
            await self._pause(_STEP)

    async def _record(self, event: Event, raw: RawEvent) -> None:
        log.info("reader_records", completion_id=event.completion_id, kind=event.type)
        try:
            await self._recorder.record(event, raw.time)
        except HistoryUnavailable:
            raise
        except Exception:
            # The consumer buries it; until then a session is shown without it, not not at all.
            log.exception("reader_cannot_record", completion_id=event.completion_id)

    async def _published(self, completion_id: CompletionId) -> list[tuple[Event, RawEvent]]:
        try:
            found = await self._log.find(completion_id)
        except (BrokerUnavailable, ApiError) as error:
            log.warning("reader_cannot_see_events", error=str(error))
            return []
        events = []
        for raw in found:
            try:
                events.append((parse_event(raw), raw))
            except Poison:
                # The consumer buries it.
                continue
        return events


def _stored(event: Event, known: Known) -> bool:
    return known.accepted if isinstance(event, CompletionAccepted) else known.ended
