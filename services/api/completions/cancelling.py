"""Cancel a completion, queued or running, wherever it is."""

import asyncio
from enum import Enum, auto
from typing import Final

import structlog

from services.api.ports.broker import Clock, Heard, Queue, Tombstones, Workers
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_PAUSE: Final = 0.3


class Cancelled(Enum):
    """Who ends the completion now."""

    TOLD = auto()
    """Its worker has been told, or will see the tombstone: it owns the end."""
    WITHDRAWN = auto()
    """It was taken out of the queue: the caller owns the end."""
    LOST = auto()
    """The broker was away for too long; deadlines will end it."""


class Cancelling:
    """Tombstone first, then the worker, then the queue.

    The tombstone closes the race with a worker that pulls the request between the other two: a
    worker looks for it after it has become reachable.
    """

    def __init__(
        self,
        tombstones: Tombstones,
        workers: Workers,
        queue: Queue,
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._tombstones = tombstones
        self._workers = workers
        self._queue = queue
        self._clock = clock
        self._patience = patience

    async def cancel(self, completion_id: CompletionId, number: int | None) -> Cancelled:
        """Cancel; broker trouble is retried within the patience.

        Args:
            completion_id: What to cancel.
            number: Its place in the queue, where the caller knows it.
        """
        until = self._clock.monotonic() + self._patience
        while True:
            try:
                return await self._cancel(completion_id, number)
            except BrokerUnavailable:
                if self._clock.monotonic() >= until:
                    log.warning("cancel_given_up", completion_id=completion_id)
                    return Cancelled.LOST
                await asyncio.sleep(_PAUSE)

    async def tell(self, completion_id: CompletionId, *, asked: bool = False) -> Heard:
        """Tombstone, then worker: one try.

        Args:
            completion_id: What shall stop.
            asked: Somebody asked for that; else its client has gone away.

        Raises:
            BrokerUnavailable: perhaps not even marked.
        """
        await self._tombstones.put(completion_id, asked=asked)
        return await self.tell_worker(completion_id)

    async def tell_worker(self, completion_id: CompletionId) -> Heard:
        """Whoever runs it by now, under a tombstone that stands.

        Raises:
            BrokerUnavailable: no answer.
        """
        return await self._workers.cancel(completion_id)

    async def withdraw(self, number: int, completion_id: CompletionId) -> bool:
        """Take what nobody runs out of the queue; true makes the caller owe the end.

        Raises:
            BrokerUnavailable: no answer.
        """
        return await self._queue.withdraw(number, completion_id)

    async def mark(self, completion_id: CompletionId) -> None:
        """Only the tombstone, where it can be set: for what was withdrawn but may run."""
        try:
            await self._tombstones.put(completion_id)
        except BrokerUnavailable:
            log.debug("tombstone_not_set", completion_id=completion_id)

    async def _cancel(self, completion_id: CompletionId, number: int | None) -> Cancelled:
        heard = await self.tell(completion_id)
        if heard is not Heard.NOBODY or number is None:
            return Cancelled.TOLD
        if await self.withdraw(number, completion_id):
            return Cancelled.WITHDRAWN
        return Cancelled.TOLD
