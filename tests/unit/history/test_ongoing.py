"""Work that may take longer than whoever asks for it waits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.history.ongoing import Ongoing
from shared.errors import HistoryUnavailable
from tests.support.waiting import eventually


class Works:
    """Pieces of work that end when they are let go."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.go = asyncio.Event()

    def work(self, number: int) -> Callable[[], Awaitable[int]]:
        async def run() -> int:
            self.begun.append(number)
            await self.go.wait()
            return number

        return run


async def test_only_a_few_pieces_are_done_at_once_and_the_others_wait_their_turn() -> None:
    ongoing: Ongoing[int] = Ongoing(at_once=2, most=9, patience=30)
    works = Works()
    askers = [asyncio.create_task(ongoing.do(n, works.work(n))) for n in range(5)]

    await eventually(lambda: len(works.begun) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert works.begun == [0, 1]

    works.go.set()
    assert await asyncio.gather(*askers) == [0, 1, 2, 3, 4]


async def test_more_than_may_wait_are_refused_at_once_and_who_asks_again_joins() -> None:
    ongoing: Ongoing[int] = Ongoing(at_once=1, most=2, patience=30)
    works = Works()
    askers = [asyncio.create_task(ongoing.do(n, works.work(n))) for n in (0, 1, 1)]
    await eventually(lambda: len(works.begun) == 1)

    with pytest.raises(HistoryUnavailable, match="Too many"):
        await ongoing.do(2, works.work(2))

    works.go.set()
    assert await asyncio.gather(*askers) == [0, 1, 1]
    assert works.begun == [0, 1]


async def test_who_has_waited_long_enough_is_told_so_and_the_work_goes_on() -> None:
    ongoing: Ongoing[int] = Ongoing(at_once=1, most=2, patience=0)
    works = Works()

    with pytest.raises(HistoryUnavailable, match="ask again"):
        await ongoing.do(0, works.work(0))
    await eventually(lambda: works.begun == [0])

    works.go.set()
    await ongoing.stop()
