"""The ends that the gateway itself owes: what it took out of the queue, or never got into it."""

import asyncio
from typing import Final

import structlog

from services.api.background import Background
from services.api.ports import Clock, Journal
from shared.contracts.chat import CompletionStatus, Failure
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.errors import BrokerUnavailable, ChatError

log = structlog.stdlib.get_logger(__name__)

_PAUSE: Final = 0.5


class Terminals:
    """Records ends, now or as soon as the broker is back."""

    def __init__(
        self, journal: Journal, background: Background, clock: Clock, *, patience: float
    ) -> None:
        self._journal = journal
        self._background = background
        self._clock = clock
        self._patience = patience

    def make(
        self, command: RunCompletion, status: CompletionStatus, error: ChatError
    ) -> CompletionCompleted:
        """The end of a completion that no engine saw."""
        return CompletionCompleted(
            completion_id=command.completion_id,
            user_id=command.user_id,
            model=command.display_model,
            status=status,
            created_at=command.created_at,
            completed_at=self._clock.now(),
            attempts=0,
            error=Failure(code=error.code, message=error.message),
            place=command.place,
        )

    async def record(self, end: CompletionCompleted) -> None:
        """Record ``end``; if the broker is away, go on trying in the background.

        What is still not recorded then is closed by history's sweeper.
        """
        try:
            await self._journal.complete(end)
        except BrokerUnavailable:
            self._background.spawn(self.record_patiently(end), "record-end")

    async def record_patiently(self, end: CompletionCompleted) -> None:
        """Record ``end``, however often that takes, within the patience."""
        until = self._clock.monotonic() + self._patience
        while True:
            try:
                await self._journal.complete(end)
            except BrokerUnavailable:
                if self._clock.monotonic() >= until:
                    log.warning("end_not_recorded", completion_id=end.completion_id)
                    return
                await asyncio.sleep(_PAUSE)
            else:
                return
