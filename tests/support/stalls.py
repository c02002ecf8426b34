"""How long others on the event loop wait while something is done, relative to how long it takes."""

import asyncio
import gc
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Stalled(Generic[T]):
    """What came of it, and the longest time in which nobody else had a turn, of all its time."""

    outcome: T
    share: float


async def stalled(work: Awaitable[T]) -> Stalled[T]:
    """Do it, and see how often another task gets its turn."""
    # Garbage of this work may be collected meanwhile; what hundreds of tests have left is not its.
    gc.collect()
    gc.freeze()
    try:
        return await _watched(work)
    finally:
        gc.unfreeze()


async def _watched(work: Awaitable[T]) -> Stalled[T]:
    clock = asyncio.get_running_loop().time
    task = asyncio.ensure_future(work)
    began = last = clock()
    longest = 0.0
    while not task.done():
        await asyncio.sleep(0)
        now = clock()
        longest, last = max(longest, now - last), now
    return Stalled(task.result(), longest / (clock() - began))
