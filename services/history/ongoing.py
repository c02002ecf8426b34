"""Work that may take longer than whoever asks for it waits: asked again, it is joined."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from shared.errors import HistoryUnavailable
from shared.tasks import end_tasks

_LONGEST: Final = 120.0
"""Seconds; what takes longer is cut off, and goes on from there when it is asked for again."""
_PATIENCE: Final = 4.25
"""Seconds that one who asks waits: a little less than a question may take."""

_T = TypeVar("_T")

log = structlog.stdlib.get_logger(__name__)


class Ongoing(Generic[_T]):
    """One piece of work per key at a time, in this process; a few of all keys at once."""

    def __init__(self, *, at_once: int, most: int, patience: float = _PATIENCE) -> None:
        """Nothing is being done yet.

        Args:
            at_once: How many pieces of work run; the others wait.
            most: How many run and wait together; more are refused.
            patience: Seconds that one who asks waits for the outcome.
        """
        self._tasks: dict[Hashable, asyncio.Task[_T]] = {}
        self._room = asyncio.Semaphore(at_once)
        self._most = most
        self._patience = patience

    async def do(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """The outcome of ``work``, or of what is being done under this key already.

        Cancelling the wait does not cancel the work.

        Raises:
            HistoryUnavailable: it is not done in time, or too much is being done: ask again.
        """
        task = self._tasks.get(key)
        if task is None:
            if len(self._tasks) >= self._most:
                raise HistoryUnavailable("Too many sessions are being copied; try again.")
            task = asyncio.create_task(self._bounded(work), name="history-ongoing")
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            raise HistoryUnavailable("The session is still being copied; ask again to wait for it.")
        return task.result()

    async def stop(self) -> None:
        """Cut off what is still being done; returns once it has ended."""
        await end_tasks(list(self._tasks.values()))

    def _ended(self, key: Hashable, task: asyncio.Task[_T]) -> None:
        del self._tasks[key]
        if not task.cancelled() and task.exception() is not None:
            # Its asker may have gone.
            log.warning("ongoing_work_failed", error=type(task.exception()).__name__)

    async def _bounded(self, work: Callable[[], Awaitable[_T]]) -> _T:
        try:
            async with self._room, asyncio.timeout(_LONGEST):
                return await work()
        except TimeoutError as error:
            raise HistoryUnavailable("It took too long; ask again to go on with it.") from error
