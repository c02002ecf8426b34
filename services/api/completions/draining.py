"""Stopping in order: first no new work, then an end for what still runs."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from shared.errors import ServerShutdown


class Drain:
    """Tells use cases and health that the process is stopping, and counts what runs."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._running: set[Callable[[], None]] = set()
        self.cut = False
        """Whether running answers must end now."""

    @property
    def begun(self) -> bool:
        """Whether new work is refused."""
        return self._begun.is_set()

    def refuse_new_work(self) -> None:
        """Raise once stopping has begun.

        Raises:
            ServerShutdown: this process is stopping.
        """
        if self._begun.is_set():
            message = "This gateway is stopping; try again, another one will answer."
            raise ServerShutdown(message)

    def enter(self, wake: Callable[[], None]) -> None:
        """An answer runs; ``wake`` makes it look at ``cut``."""
        self._running.add(wake)
        self._quiet.clear()

    def leave(self, wake: Callable[[], None]) -> None:
        """The answer that came with ``wake`` has been sent."""
        self._running.discard(wake)
        if not self._running:
            self._quiet.set()

    def begin(self) -> None:
        """Refuse new work from now on; what runs may look whether that concerns it."""
        self._begun.set()
        for wake in list(self._running):
            wake()

    async def finish(self, patience: float) -> None:
        """After ``begin``: wait for what runs, at most ``patience`` seconds, then cut it."""
        await self._begun.wait()
        try:
            await asyncio.wait_for(self._quiet.wait(), patience)
        except TimeoutError:
            self.cut_short()

    def cut_short(self) -> None:
        """Let everything that runs end now, each with its own last word."""
        self.cut = True
        for wake in list(self._running):
            wake()

    @contextmanager
    def admitting(self) -> Generator[None]:
        """Something is being admitted: it counts as running before it runs.

        Raises:
            ServerShutdown: stopping has begun.
        """
        self.refuse_new_work()

        def nothing_to_wake() -> None:
            return

        self.enter(nothing_to_wake)
        try:
            yield
        finally:
            self.leave(nothing_to_wake)
