"""What others may ask a running completion, and who still watches it."""

import asyncio
from typing import Final

from services.inference_worker.answer import Answer
from services.inference_worker.stop import StopReason, StopSignal

_LONGEST_YIELD: Final = 1.0


class Viewers:
    """How long nobody has said that he watches: pure.

    Only time in which the broker answered counts, so that an outage ends no answer.
    """

    def __init__(self, patience: float | None) -> None:
        """Watch for ``patience`` seconds without a word; ``None`` for ever."""
        self._patience = patience
        self._silent = 0.0

    def heard(self) -> None:
        """Somebody watches, or may have said so while nothing could be heard."""
        self._silent = 0.0

    def passed(self, seconds: float) -> None:
        """So much time went by in which a word would have been heard."""
        self._silent += seconds

    @property
    def gone(self) -> bool:
        """Whether nobody watches any more."""
        return self._patience is not None and self._silent > self._patience


class Listener:
    """One completion, as control requests reach it."""

    def __init__(self, stop: StopSignal, viewers: Viewers) -> None:
        self.viewers = viewers
        self.answer: Answer | None = None
        """Set once there is something to tell readers about."""
        self._stop = stop
        self._quiet = asyncio.Event()

    @property
    def last_index(self) -> int:
        """Index of the last event that was sent; -1 before the first."""
        return (self.answer.next_index if self.answer else 0) - 1

    def cancel(self) -> None:
        """Somebody wants it to end."""
        self._stop.set(StopReason.CANCELLED)

    def watched(self) -> None:
        """Somebody reads along."""
        self.viewers.heard()

    async def resend(self) -> None:
        """A reader has lost what the broker has lost too."""
        if self.answer is not None and not self._quiet.is_set():
            await self.answer.resend()

    async def yield_to_successor(self) -> bool:
        """Stop, and return once nothing of it is sent any more; false if it does not come to that.

        An answer that has reached its end is told first: the successor finds ``completed``. One
        that has not is said whole: the broker may have lost what readers have got.
        """
        self._stop.set(StopReason.YIELDED)
        try:
            async with asyncio.timeout(_LONGEST_YIELD):
                await self._quiet.wait()
        except TimeoutError:
            return False
        if self.answer is not None:
            await self.answer.last_word()
        return True

    def quiet(self) -> None:
        """Nothing is sent from now on."""
        self._quiet.set()
