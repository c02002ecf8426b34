"""What many requests want of one counter at the same time is done in one go.

Two hundred of them cost this gateway two round trips, and not the two hundred turns of a queue.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from services.api.background import Background
from shared.errors import BrokerUnavailable, ChatError

H = TypeVar("H", bound=Hashable)
W = TypeVar("W")

_PATIENCE: Final = 10.0


class Batching(Generic[H, W]):
    """Works of all holders, one batch of each at a time."""

    def __init__(
        self,
        apply: Callable[[H, Sequence[W]], Awaitable[Sequence[Any]]],
        background: Background,
        *,
        late: str,
    ) -> None:
        """Nothing waits.

        Args:
            apply: Does works of one holder together and gives a result for each; one that is a
                ``ChatError`` is raised.
            background: Where batches are done.
            late: What is said to who has waited too long, a whole sentence.
        """
        self._apply = apply
        self._background = background
        self._late = late
        self._waiting: dict[H, list[tuple[W, asyncio.Future[Any]]]] = {}
        self._serving: set[H] = set()

    async def do(self, holder: H, work: W) -> Any:  # noqa: ANN401 - whatever ``apply`` gives
        """The result of ``work``, done as if nobody else were there.

        Raises:
            BrokerUnavailable: not done, or done without our hearing of it.
            ChatError: what its result says.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, []).append((work, future))
        if holder not in self._serving:
            self._serving.add(holder)
            self._background.spawn(self._serve(holder), "count-usage")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError as error:
            raise BrokerUnavailable(self._late) from error

    async def _serve(self, holder: H) -> None:
        try:
            while batch := self._waiting.pop(holder, None):
                await self._serve_batch(holder, batch)
        finally:
            self._serving.discard(holder)

    async def _serve_batch(self, holder: H, batch: Sequence[tuple[W, asyncio.Future[Any]]]) -> None:
        failure: Exception = BrokerUnavailable("This gateway is stopping; try again.")
        results: Sequence[Any] = []
        try:
            results = await self._apply(holder, [work for work, _ in batch])
        except ChatError as error:
            failure = error
        finally:
            # Also when this task is cancelled: somebody waits for each of them.
            for index, (_, future) in enumerate(batch):
                if future.done():
                    continue
                result = results[index] if results else failure
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
