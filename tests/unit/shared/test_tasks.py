"""Ending tasks."""

import asyncio
from contextlib import suppress

from shared.tasks import end_tasks


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await end_tasks([task])

    assert swallowed.is_set()
    assert task.cancelled()


async def test_tasks_that_have_ended_are_left_alone() -> None:
    async def fails() -> None:
        raise ValueError("on its own")

    failed = asyncio.create_task(fails())
    await asyncio.wait({failed})

    await end_tasks([failed])

    assert isinstance(failed.exception(), ValueError)
