"""Work that is done for ever: what it raises does not end it, and it can be hurried."""

import asyncio

from services.api.forever import forever
from shared.tasks import end_tasks
from tests.support.waiting import eventually

HOURS = 9999.0


class Work:
    """Counts how often it was done; raises what it is told to."""

    def __init__(self) -> None:
        self.done = 0
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.done += 1
        if self.error is not None:
            raise self.error


async def test_a_word_ends_the_wait_and_only_one() -> None:
    work, sooner = Work(), asyncio.Event()
    task = asyncio.create_task(forever(work, HOURS, "work", sooner=sooner))
    await eventually(lambda: work.done == 1)

    sooner.set()
    await eventually(lambda: work.done == 2)
    assert not sooner.is_set()

    sooner.set()
    await eventually(lambda: work.done == 3)
    await end_tasks([task])
    assert work.done == 3


async def test_without_a_word_it_is_done_when_its_time_has_come() -> None:
    work = Work()
    task = asyncio.create_task(forever(work, 0.01, "work", sooner=asyncio.Event()))
    await eventually(lambda: work.done >= 3)
    await end_tasks([task])


async def test_what_fails_is_done_again_and_no_word_makes_it_a_busy_loop() -> None:
    work, sooner = Work(), asyncio.Event()
    work.error = ValueError("a surprise")
    sooner.set()
    began = asyncio.get_running_loop().time()
    task = asyncio.create_task(forever(work, 0.0, "work", sooner=sooner))
    await eventually(lambda: work.done >= 2)
    await end_tasks([task])
    assert asyncio.get_running_loop().time() - began >= 1
