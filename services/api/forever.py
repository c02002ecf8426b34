"""Work that a gateway does again and again, and must not stop doing without anybody's noticing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

log = structlog.stdlib.get_logger(__name__)

_AFTER_FAILURE: Final = 1.0


async def forever(
    work: Callable[[], Awaitable[None]],
    every: float,
    name: str,
    *,
    sooner: asyncio.Event | None = None,
) -> None:
    """Do ``work``, wait ``every`` seconds, and so on, whatever it raises; ``sooner`` ends a wait.

    A task that dies of a surprise is noticed by nobody; one that goes on and says so may be right
    again the next time.
    """
    while True:
        pause = every
        try:
            await work()
        except Exception:
            log.exception("periodic_work_failed", work=name)
            pause = max(every, _AFTER_FAILURE)
        if sooner is None or pause > every:
            await asyncio.sleep(pause)
            continue
        with suppress(TimeoutError):
            await asyncio.wait_for(sooner.wait(), pause)
        sooner.clear()
