"""Wait for the end of an answer that is sent in one piece."""

from services.api.ports.broker import Clock, Journal
from services.api.ports.mailbox import Mailbox
from services.api.streams.steps import Step
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

_RETRY = 0.1


class WholeAnswer:
    """Waits for the end alone, and takes the answer from the journal."""

    def __init__(
        self,
        completion_id: CompletionId,
        mailbox: Mailbox,
        *,
        journal: Journal,
        clock: Clock,
        silence: float,
    ) -> None:
        self._id = completion_id
        self._mailbox = mailbox
        self._journal = journal
        self._clock = clock
        self._silence = silence
        self._checked = clock.monotonic()
        self._expected = False
        self._retry_at = 0.0

    def alarm(self) -> None:
        """Frames may have been lost: ask the journal now."""
        self._retry_at = self._checked = -self._silence
        self._mailbox.last_heard = self._checked
        self._mailbox.wake()

    def due(self) -> float:
        """When to look again if no frame comes."""
        return self._retry_at if self._expected else self._silent_at()

    async def step(self) -> Step:
        """The end, once there is one; never any bytes."""
        self._expected = bool(self._mailbox.take()) or self._expected
        now = self._clock.monotonic()
        if now < self.due():
            return Step(b"", None)
        self._checked = now
        self._retry_at = now + _RETRY
        try:
            return Step(b"", await self._journal.completed(self._id))
        except BrokerUnavailable:
            return Step(b"", None)

    def _silent_at(self) -> float:
        return max(self._mailbox.last_heard, self._checked) + self._silence
