"""The ends that the gateway itself owes: what it took out of the queue, or never got into it."""

import asyncio
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from services.api.background import Background
from services.api.ports.broker import Clock, Journal
from services.api.ports.queue import Announcements
from shared.contracts.chat import CompletionStatus, Failure
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.errors import BrokerUnavailable, ChatError

log = structlog.stdlib.get_logger(__name__)

_PAUSE: Final = 0.5


class _Asked(NamedTuple):
    """What a request and the word of it say in different fields."""

    model: str
    """The name that the client used."""
    at: datetime
    key_id: str | None = None


class Terminals:
    """Records ends, now or as soon as the broker is back."""

    def __init__(
        self,
        journal: Journal,
        announcements: Announcements,
        background: Background,
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._journal = journal
        self._announcements = announcements
        self._background = background
        self._clock = clock
        self._patience = patience

    def make(
        self, command: RunCompletion, status: CompletionStatus, error: ChatError
    ) -> CompletionCompleted:
        """The end of a completion that no engine saw."""
        asked = _Asked(command.display_model, command.created_at, command.key_id)
        return self._make(command, asked, status, error)

    def make_unqueued(
        self, accepted: CompletionAccepted, status: CompletionStatus, error: ChatError
    ) -> CompletionCompleted:
        """The same of one whose request nobody knows."""
        asked = _Asked(accepted.model, accepted.accepted_at)
        return self._make(accepted, asked, status, error)

    async def record(self, end: CompletionCompleted, reply_subject: str) -> CompletionCompleted:
        """Record ``end`` and tell its readers; if the broker is away, go on in the background.

        What is still not recorded then is closed by history's sweeper.

        Returns:
            The end that stands: another one, if that was first; ``end`` if nobody knows.
        """
        try:
            return await self.record_owed(end, reply_subject)
        except BrokerUnavailable:
            return end

    async def record_patiently(self, end: CompletionCompleted, reply_subject: str) -> None:
        """The same, however often that takes, within the patience."""
        until = self._clock.monotonic() + self._patience
        while True:
            try:
                await self._record(end, reply_subject)
            except BrokerUnavailable:
                if self._clock.monotonic() >= until:
                    log.warning("end_not_recorded", completion_id=end.completion_id)
                    return
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def record_or_raise(
        self, end: CompletionCompleted, reply_subject: str
    ) -> CompletionCompleted:
        """The same once: whoever says what came of it waits for what stands.

        Raises:
            BrokerUnavailable: nobody knows whether it is recorded.
        """
        return await self._record(end, reply_subject)

    async def record_owed(
        self, end: CompletionCompleted, reply_subject: str
    ) -> CompletionCompleted:
        """The same of what nobody else owes: it goes on in the background when this has raised.

        Raises:
            BrokerUnavailable: nobody knows whether it is recorded.
        """
        try:
            return await self._record(end, reply_subject)
        except BrokerUnavailable:
            self._background.spawn(self.record_patiently(end, reply_subject), "record-end")
            raise

    def _make(
        self,
        of: RunCompletion | CompletionAccepted,
        asked: _Asked,
        status: CompletionStatus,
        error: ChatError,
    ) -> CompletionCompleted:
        return CompletionCompleted(
            completion_id=of.completion_id,
            user_id=of.user_id,
            key_id=asked.key_id,
            model=asked.model,
            status=status,
            created_at=asked.at,
            completed_at=self._clock.now(),
            attempts=0,
            error=Failure(code=error.code, message=error.message),
            place=of.place,
        )

    async def _record(self, end: CompletionCompleted, reply_subject: str) -> CompletionCompleted:
        standing = await self._journal.complete(end)
        # Not only the reader that asked: others may follow from other gateways.
        await self._announcements.ended(reply_subject, standing)
        return standing
