"""What runs beside the queries: loops that outlive any error of a database or a broker."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.messaging.jetstream import ApiError
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)


class Background:
    """Tasks that are started together and stopped together."""

    def __init__(self, on_death: Callable[[], None]) -> None:
        """Nothing runs yet; ``on_death`` is called when a task has ended by an error."""
        self._on_death = on_death
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Run ``work``; what it raises is logged and ends the process."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._report)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Cancel all, and return once they have ended."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(tasks)

    def _report(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # A service that answers and stores nothing would fill the stream: who supervises the
            # process starts a whole one.
            log.critical("part_died", part=task.get_name(), exc_info=task.exception())
            self._on_death()


async def until_done(name: str, work: Callable[[], Awaitable[object]], *, pause: float) -> None:
    """Do ``work`` once, trying again every ``pause`` seconds while what it needs is away."""
    while True:
        if await _attempt(name, work):
            return
        await asyncio.sleep(pause)


async def again_and_again(
    name: str, work: Callable[[], Awaitable[object]], due: Callable[[], Awaitable[object]]
) -> None:
    """Do ``work`` whenever ``due`` returns, for ever."""
    while True:
        await due()
        if not await _attempt(name, work):
            # ``due`` may be due at once.
            await asyncio.sleep(1)


async def _attempt(name: str, work: Callable[[], Awaitable[object]]) -> bool:
    try:
        await work()
    except (HistoryUnavailable, BrokerUnavailable, ApiError) as error:
        log.warning("work_postponed", work=name, error=str(error))
        return False
    except Exception:
        log.exception("work_failed", work=name)
        return False
    return True
