"""Notice at once that the client has gone, whatever the answer is busy with."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from starlette.types import Receive

_T = TypeVar("_T")


class ClientWatch:
    """Listens for ``http.disconnect`` beside the answer; ``async with`` bounds the listening."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._on_gone: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        return self._task is not None and self._task.done()

    def call_when_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the client goes, or now if it has gone."""
        self._on_gone = callback
        if self.gone:
            callback()

    async def first(self, work: asyncio.Task[_T]) -> bool:
        """Wait for ``work`` or for the client to go; true if ``work`` is done."""
        assert self._task is not None
        await asyncio.wait({work, self._task}, return_when=asyncio.FIRST_COMPLETED)
        return work.done()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen(), name="client-watch")
        self._task.add_done_callback(self._tell)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._on_gone = None
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _tell(self, _task: asyncio.Task[None]) -> None:
        if self._on_gone is not None:
            self._on_gone()
