"""How many generations run at once, and how many may wait for their turn."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class ServerBusy(Exception):
    """As many requests wait already as may wait."""


class Slots:
    """First come, first served; ``running`` and ``queued`` can be watched."""

    def __init__(self, parallel: int, max_queue: int) -> None:
        self._free = asyncio.Semaphore(parallel)
        self._max_queue = max_queue
        self.running = 0
        self.queued = 0

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for a slot and hold it.

        Raises:
            ServerBusy: the queue is full.
        """
        if self._free.locked() and self.queued >= self._max_queue:
            raise ServerBusy
        self.queued += 1
        try:
            await self._free.acquire()
        finally:
            self.queued -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()
