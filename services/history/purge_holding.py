"""One process works on a purge at a time.

Two at once would do each other no harm. But a slow one must not go on when a quicker one has let
the user in again: it would remove what they have made since.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Generator
from itertools import count
from typing import Any, Final

import structlog

from services.history.user_ports import PurgeMark, PurgeMarks
from shared.errors import HistoryUnavailable
from shared.tasks import end_tasks

BEAT: Final = 2.0
PATIENCE: Final = 6.0
"""Seconds without a beat after which another process may follow, by that one's own clock."""
_OWN: Final = PATIENCE - BEAT
"""Seconds without a beat after which its holder stops, by its own clock."""

log = structlog.stdlib.get_logger(__name__)


class HoldLost(Exception):
    """Another process may be working on it by now."""


class Hold:
    """That this process works on a purge, for as long as ``check`` says nothing."""

    def __init__(self, since: float, clock: Callable[[], float]) -> None:
        self._since = since
        self._clock = clock

    def check(self) -> None:
        """Go on; asked before every step.

        Raises:
            HoldLost: this process has not been heard of for so long that another may soon follow.
        """
        if self._clock() - self._since >= _OWN:
            raise HoldLost

    def renewed(self, since: float) -> None:
        """It stands since ``since``, when that was asked for."""
        self._since = since


class _Held:
    """Work that goes on from each of its awaits only if its hold still stands.

    A process may be frozen in any of them, and find the user back when it wakes up. Then its beat
    comes too late: what it waits for is there as well, and more may follow before it is cut off.
    """

    def __init__(self, work: Coroutine[Any, Any, None], hold: Hold) -> None:
        self._work = work
        self._hold = hold

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        error: BaseException | None = None
        value: Any = None
        while True:
            try:
                awaited = steps.send(value) if error is None else steps.throw(error)
            except StopIteration:
                return
            value, error = None, None
            try:
                value = yield awaited
                self._hold.check()
            except BaseException as raised:  # noqa: BLE001 - it is the work's
                error = raised


class Holding:
    """The holds of this process, and what it has seen of those of others."""

    def __init__(self, marks: PurgeMarks, *, name: str, clock: Callable[[], float]) -> None:
        """None is held yet.

        Args:
            marks: Where holds are written down.
            name: This process's, and of no other one, before or after.
            clock: Monotonic seconds. Those of two machines are never compared.
        """
        self.name = name
        self._marks = marks
        self._clock = clock
        self._beats = count(1)
        self._seen: dict[str, tuple[tuple[str, int | None], float]] = {}

    def only(self, digests: Collection[str]) -> None:
        """Forget what was seen of all other purges."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in digests}

    def is_free(self, mark: PurgeMark) -> bool:
        """Whether nobody else works on it, as far as can be seen from here."""
        if mark.holder is None or mark.holder == self.name:
            return True
        life = (mark.holder, mark.beat)
        last, since = self._seen.get(mark.id, (None, 0.0))
        if last != life:
            self._seen[mark.id] = (life, self._clock())
            return False
        return self._clock() - since >= PATIENCE

    async def during(
        self, mark: PurgeMark, work: Callable[[Hold], Coroutine[Any, Any, None]]
    ) -> bool:
        """Do ``work`` if the purge still stands as in ``mark``, and cut it off when it is lost.

        Returns:
            Whether it was done.

        Raises:
            HistoryUnavailable: the database is away; and whatever ``work`` raises.
        """
        hold = Hold(self._clock(), self._clock)
        if not await self._marks.hold(mark, self.name, next(self._beats)):
            return False
        working = asyncio.create_task(_held(work(hold), hold), name="held-purge")
        beating = asyncio.create_task(self._beat(mark, hold), name="hold-purge")
        try:
            await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([beating, working])
        try:
            await working
        except (asyncio.CancelledError, HoldLost):
            log.warning("purge_hold_lost", purge=mark.id)
            return False
        return True

    async def _beat(self, mark: PurgeMark, hold: Hold) -> None:
        """Returns when another process works on it."""
        while True:
            await asyncio.sleep(BEAT)
            asked = self._clock()
            try:
                if not await self._marks.hold(mark, self.name, next(self._beats)):
                    return
            except HistoryUnavailable:
                # What comes next is checked by time.
                continue
            hold.renewed(asked)


async def _held(work: Coroutine[Any, Any, None], hold: Hold) -> None:
    await _Held(work, hold)
