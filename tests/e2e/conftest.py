"""One running Parley for all tests of a worker process that only talk to it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from tests.support.stack import Stack

_T = TypeVar("_T")


class Background:
    """An event loop in a thread: a stack outlives the loops of the tests that use it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run to the end, from outside the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    background = Background()
    running = Stack(tmp_path_factory.mktemp("parley") / "data")
    background.run(running.start())
    yield running
    assert background.run(running.stop()) == 0
    background.close()


@pytest.fixture
async def http(stack: Stack) -> AsyncGenerator[httpx.AsyncClient]:
    async with stack.client() as client:
        yield client
