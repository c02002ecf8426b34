"""Work that may take longer than whoever asks for it waits: asked again, it is joined."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from shared.tasks import end_tasks

_LONGEST: Final = 120.0
"""Seconds; what takes longer is cut off, and goes on from there when it is asked for again."""

_T = TypeVar("_T")

log = structlog.stdlib.get_logger(__name__)


class Ongoing(Generic[_T]):
    """One piece of work per key at a time, in this process."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[_T]] = {}

    async def do(self, key: Hashable, work: Callable[[], Awaitable[_T]]) -> _T:
        """The outcome of ``work``, or of what is being done under this key already.

        Cancelling the wait does not cancel the work.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(_bounded(work), name="history-ongoing")
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """Cut off what is still being done; returns once it has ended."""
        await end_tasks(list(self._tasks.values()))

    def _ended(self, key: Hashable, task: asyncio.Task[_T]) -> None:
        del self._tasks[key]
        if not task.cancelled() and task.exception() is not None:
            # Its asker may have gone.
            log.warning("ongoing_work_failed", error=type(task.exception()).__name__)


async def _bounded(work: Callable[[], Awaitable[_T]]) -> _T:
    async with asyncio.timeout(_LONGEST):
        return await work()
