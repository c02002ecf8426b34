"""Waiting in tests is always "until this holds, at most so long"."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

_T = TypeVar("_T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[_T]], *, within: float = 10.0, every: float = 0.02
) -> _T: ...
@overload
async def eventually(
    condition: Callable[[], _T], *, within: float = 10.0, every: float = 0.02
) -> _T: ...
async def eventually(
    condition: Callable[[], Any], *, within: float = 10.0, every: float = 0.02
) -> Any:
    """Poll ``condition`` until it gives something true; fails after ``within`` seconds."""
    last: Any = None
    try:
        async with asyncio.timeout(within):
            while True:
                value = condition()
                last = await value if inspect.isawaitable(value) else value
                if last:
                    return last
                await asyncio.sleep(every)
    except TimeoutError:
        message = f"not true within {within} s; last value: {last!r}"
        raise AssertionError(message) from None
