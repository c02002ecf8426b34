"""An ``accepted`` without a ``completed`` gets one: nobody waits for ever for a lost worker."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.history.event_format import Poison, parse_event
from services.history.event_ports import EventLog
from services.history.ports import TurnStore
from services.history.recorder import Recorder
from services.history.records import OpenCompletion, from_milliseconds, to_milliseconds
from shared.contracts.chat import CompletionStatus, Failure
from shared.contracts.events import CompletionCompleted
from shared.errors import HistoryUnavailable, WorkerLost

_BATCH: Final = 100

log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Closes what is overdue; any number of replicas may do so, the first writer wins.

    A completion is overdue at the broker's time of its ``accepted`` plus all its deadlines. "Now"
    is this machine's clock, the one place where two clocks are compared: ``slack`` covers the
    difference. Should it not, a completion is closed as failed while a worker still runs it, and
    the worker learns so when it publishes its end.
    """

    def __init__(
        self,
        turns: TurnStore,
        event_log: EventLog,
        recorder: Recorder,
        *,
        slack: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._turns = turns
        self._log = event_log
        self._recorder = recorder
        self._slack = slack
        self._now = now

    async def sweep(self) -> int:
        """Close what is overdue now; gives how many completions had no end.

        Raises:
            HistoryUnavailable: the database is away.
            BrokerUnavailable, ApiError: the end cannot be published.
        """
        now = self._now()
        closed = 0
        for completion in await self._turns.overdue(to_milliseconds(now - self._slack), _BATCH):
            if await self._log.close(_end_of(completion, now)):
                closed += 1
                log.warning("completion_closed", completion_id=completion.id)
            else:
                await self._record_end(completion)
        return closed

    async def _record_end(self, completion: OpenCompletion) -> None:
        # It has an end already: the consumer is behind, or the event was buried as poison.
        for raw in await self._log.find(completion.id):
            try:
                event = parse_event(raw)
            except Poison:
                log.warning("end_is_poison", completion_id=completion.id)
                continue
            try:
                await self._recorder.record(event, raw.time)
            except HistoryUnavailable:
                raise
            except Exception:
                # The consumer buries it. What is overdue besides it must not wait for that.
                log.exception("end_cannot_be_stored", completion_id=completion.id)


def _end_of(completion: OpenCompletion, now: datetime) -> CompletionCompleted:
    return CompletionCompleted(
        completion_id=completion.id,
        user_id=completion.user_id,
        model=completion.model,
        status=CompletionStatus.FAILED,
        created_at=from_milliseconds(completion.accepted_at),
        completed_at=now,
        attempts=0,
        error=Failure(code=WorkerLost.code, message="The completion never came to its end."),
        place=completion.place,
    )
