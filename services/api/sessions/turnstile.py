"""A few at once, some that wait a while, and nobody beyond: for what takes time and memory."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from shared.errors import GatewayBusy

_AT_ONCE: Final = 2
_MOST: Final = 10
_PATIENCE: Final = 10.0

_T = TypeVar("_T")


class Turnstile:
    """In front of files: each is held in memory, and takes as long as others would wait."""

    def __init__(
        self, *, at_once: int = _AT_ONCE, most: int = _MOST, patience: float = _PATIENCE
    ) -> None:
        """Nobody is inside.

        Args:
            at_once: How many are inside; the others wait.
            most: How many are inside and wait together; more are refused.
            patience: Seconds that one waits before it is refused.
        """
        self._room = asyncio.Semaphore(at_once)
        self._most = most
        self._patience = patience
        self._here = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """To be inside.

        Raises:
            GatewayBusy: too many are there, or have been for too long.
        """
        if self._here >= self._most:
            raise _busy()
        self._here += 1
        try:
            try:
                async with asyncio.timeout(self._patience):
                    await self._room.acquire()
            except TimeoutError as error:
                raise _busy() from error
            try:
                yield
            finally:
                self._room.release()
        finally:
            self._here -= 1


async def in_thread(work: Callable[[], _T]) -> _T:
    """What ``work`` gives, from a thread; who is cancelled leaves when the thread has ended.

    A thread cannot be stopped: whoever counts those that run counts this one until then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _busy() -> GatewayBusy:
    text = "Too many sessions are being imported and exported here; try again in a few seconds."
    return GatewayBusy(text)
