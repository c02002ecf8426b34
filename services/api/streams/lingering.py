"""After the last viewer has left: wait for the end, or for the moment to stop the work."""

from contextlib import suppress
from typing import NamedTuple

import structlog

from services.api.ports.broker import Clock, Journal
from services.api.ports.mailbox import Mailbox
from services.api.ports.viewers import Listening, Watchers
from services.api.streams.watching import Watching
from services.api.streams.whole import WholeAnswer
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable, ChatError

log = structlog.stdlib.get_logger(__name__)


class Outcome(NamedTuple):
    """What became of a completion that was left."""

    end: CompletionCompleted | None
    forsaken: bool
    """The grace is over, and nobody watches it here or elsewhere."""


class Lingering:
    """Keeps a completion watched for a grace, and listens for viewers at other gateways."""

    def __init__(
        self,
        watching: Watching,
        watchers: Watchers,
        journal: Journal,
        clock: Clock,
        *,
        grace: float,
        silence: float,
    ) -> None:
        """Wait in this rhythm.

        Args:
            watching: Who watches here.
            watchers: Who watches elsewhere.
            journal: Where ends are recorded.
            clock: For the grace.
            grace: Seconds in which a viewer may come back.
            silence: Seconds without a frame after which the journal is asked.
        """
        self._watching = watching
        self._watchers = watchers
        self._journal = journal
        self._clock = clock
        self.grace = grace
        self._silence = silence

    async def wait(self, completion_id: CompletionId, mailbox: Mailbox, overall: float) -> Outcome:
        """Wait for the end or until the grace is over, whatever comes first.

        A viewer who comes and goes here meanwhile begins the grace anew.
        """
        if not self.grace:
            return Outcome(None, forsaken=not self._watching.has_viewer(completion_id))
        others = _Others(self._clock, self._watching.heard_for)
        with self._watching.grace(completion_id):
            listening = await self._listen(completion_id, others)
            try:
                while True:
                    until = self._watching.left_at(completion_id) + self.grace
                    end = await self.end_of(completion_id, mailbox, min(until, overall))
                    until = self._watching.left_at(completion_id) + self.grace
                    if end is not None or min(until, overall) <= self._clock.monotonic():
                        break
            finally:
                if listening is not None:
                    await listening.close()
        # Who heard nothing because the broker was away leaves it to the worker's own patience.
        nobody = listening is not None and not others.heard_lately()
        forsaken = nobody and not self._watching.has_viewer(completion_id)
        return Outcome(end, forsaken=end is None and forsaken)

    async def end_of(
        self, completion_id: CompletionId, mailbox: Mailbox, until: float
    ) -> CompletionCompleted | None:
        """The end, or ``None`` if there is none until then."""
        reader = WholeAnswer(
            completion_id, mailbox, journal=self._journal, clock=self._clock, silence=self._silence
        )
        with suppress(ChatError):
            while True:
                step = await reader.step()
                if step.end is not None:
                    return step.end
                if self._clock.monotonic() >= until:
                    return None
                await mailbox.wait(min(reader.due(), until))
        return None

    async def _listen(self, completion_id: CompletionId, others: "_Others") -> Listening | None:
        try:
            return await self._watchers.listen(completion_id, others.hear)
        except BrokerUnavailable:
            log.warning("viewers_elsewhere_not_heard", completion_id=completion_id)
            return None


class _Others:
    """When another gateway was last heard to have a viewer."""

    def __init__(self, clock: Clock, window: float) -> None:
        self._clock = clock
        self._window = window
        self._heard_at = float("-inf")

    def hear(self) -> None:
        self._heard_at = self._clock.monotonic()

    def heard_lately(self) -> bool:
        return self._clock.monotonic() - self._heard_at <= self._window
