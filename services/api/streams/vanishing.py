"""A broker that comes back with an empty store: what it held of a completion, nobody holds."""

import math
from typing import Final

import structlog

from services.api.ports.broker import Broker, Clock, Journal
from services.api.ports.mailbox import Mailbox
from services.api.ports.queue import QueueNotes
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_RETRY: Final = 1.0


class Vanishing:
    """Looks after each reconnect whether a completion is still known to anybody.

    A worker that has it goes on without the broker's help, and is heard; a request that waited is
    gone for good, and its client would be pinged until all deadlines have passed.
    """

    def __init__(
        self,
        completion_id: CompletionId,
        mailbox: Mailbox,
        *,
        broker: Broker,
        journal: Journal,
        notes: QueueNotes,
        clock: Clock,
        silence: float,
    ) -> None:
        """It stands in the journal and in the queue.

        Args:
            completion_id: Whose.
            mailbox: Where a worker is heard.
            broker: Counts its connections.
            journal: Where ``accepted`` is.
            notes: Where the request is.
            clock: For the silence.
            silence: Seconds in which a worker that has it is heard.
        """
        self._id = completion_id
        self._mailbox = mailbox
        self._broker = broker
        self._journal = journal
        self._notes = notes
        self._clock = clock
        self._silence = silence
        self._connection = broker.connections()
        self._look_at = math.inf
        self._since = math.inf

    def due(self) -> float:
        """When to call ``happened``; a reconnect wakes the reader by itself."""
        return self._look_at

    async def happened(self) -> bool:
        """Whether nobody knows of it any more."""
        now, connection = self._clock.monotonic(), self._broker.connections()
        if connection != self._connection:
            self._connection = connection
            self._since, self._look_at = now, now + self._silence
        if now < self._look_at:
            return False
        if self._mailbox.last_heard > self._since:
            self._look_at = math.inf
            return False
        try:
            kept = await self._kept()
        except BrokerUnavailable:
            # Perhaps its streams are being made anew just now.
            self._look_at = now + _RETRY
            return False
        self._look_at = math.inf
        if not kept:
            log.error("completion_vanished", completion_id=self._id)
        return not kept

    async def _kept(self) -> bool:
        # Each of them may be gone for a reason of its own; all together they were lost.
        return (
            await self._journal.accepted(self._id) is not None
            or await self._journal.completed(self._id) is not None
            or await self._notes.waits(self._id)
        )
