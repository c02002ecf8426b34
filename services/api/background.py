"""Work that must outlive the request that caused it: owned by the process, ended at shutdown."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from shared.errors import ChatError
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_T = TypeVar("_T")


class Background:
    """A set of tasks that nobody else cancels."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Start ``work``; what it raises is logged if nobody asks for it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def aclose(self, patience: float) -> None:
        """Wait ``patience`` seconds for what runs, then cancel it."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=patience)
        await end_tasks(list(self._tasks))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        # A ``ChatError`` is an answer that somebody waits for; anything else is a mistake of ours.
        if error is not None and not isinstance(error, ChatError):
            log.error("background_task_failed", task=task.get_name(), exc_info=error)
