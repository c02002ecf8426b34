"""What was read a moment ago need not be read again."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from services.api.background import Background
from services.api.ports.broker import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple):
    value: asyncio.Future[Any]
    expires: float

    def holds(self, now: float) -> bool:
        failed = self.value.done() and (self.value.cancelled() or self.value.exception())
        return now < self.expires and not failed


class Remembered(Generic[K, V]):
    """Values by key for some seconds; those who ask at the same time share one reading."""

    def __init__(
        self,
        load: Callable[[K], Coroutine[Any, Any, V]],
        background: Background,
        clock: Clock,
        *,
        seconds: float,
        most: int = 1024,
    ) -> None:
        """Describe the reading.

        Args:
            load: Reads one; what it raises is raised to who asks, and not remembered.
            background: Owns the readings: who asks may leave.
            clock: Tells the age.
            seconds: How old a value may be.
            most: How many are kept; the oldest goes.
        """
        self._load = load
        self._background = background
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._entries: dict[K, _Entry] = {}
        self._moment = 0

    async def get(self, key: K) -> V:
        """The value, as it was at most ``seconds`` ago."""
        entry = self._entries.get(key)
        if entry is None or not entry.holds(self._clock.monotonic()):
            entry = self._keep(key, self._background.spawn(self._load(key), "read-settings"))
        value: V = await asyncio.shield(entry.value)
        return value

    @property
    def moment(self) -> int:
        """How often something was forgotten."""
        return self._moment

    def put(self, key: K, value: V, since: int) -> None:
        """What it is from now on; a reading that is under way does not change that.

        Unless something was forgotten since the moment when it was asked for: then nobody knows
        which word is the newer one, and the next who asks has it read.
        """
        if since != self._moment:
            # Perhaps it was another one's: what is kept of this one is older than ``value``.
            self._entries.pop(key, None)
            return
        known: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        known.set_result(value)
        self._keep(key, known)

    def forget(self, key: K) -> None:
        """It has changed: the next who asks has it read; so do all after that."""
        self._moment += 1
        self._entries.pop(key, None)

    def forget_all(self) -> None:
        """Any may have changed."""
        self._moment += 1
        self._entries.clear()

    def _keep(self, key: K, value: asyncio.Future[V]) -> _Entry:
        self._entries.pop(key, None)
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        entry = _Entry(value, self._clock.monotonic() + self._seconds)
        self._entries[key] = entry
        return entry
