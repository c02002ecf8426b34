"""Ending tasks of one's own."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN: Final = 0.01
_SLOWEST: Final = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` until all of them have ended; what they end with is nobody's business.

    Once is not enough: asyncio's ``wait_for`` of Python 3.11, which nats-py's requests go through,
    swallows a cancellation that meets the reply, and who waits for that task waits for ever.
    """
    pending = {task for task in tasks if not task.done()}
    pause = _AGAIN
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=pause)
        pause = min(2 * pause, _SLOWEST)
