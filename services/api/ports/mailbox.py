"""Where the frames of one completion wait for their reader: bounded, and never in the way.

``put`` is called from the broker's callback, which serves all completions: it takes a microsecond
and never waits. A reader that is too slow loses frames here and reads them again from the log.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from shared.contracts.frames import Frame, FrameKind

_FRAME_COST: Final = 100
"""Bytes that a waiting frame takes besides its body."""


class Mailbox:
    """A bounded queue of frames with one reader, who can also be woken for other reasons."""

    def __init__(self, limit: int, *, clock: Callable[[], float], relays: bool = True) -> None:
        """An empty mailbox.

        Args:
            limit: Bytes that may wait here.
            clock: A monotonic clock in seconds, the event loop's own.
            relays: Whether the reader relays tokens; else only ends are kept.
        """
        self._limit = limit
        self._clock = clock
        self._relays = relays
        self._frames: list[Frame] = []
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0
        self.overflowed = False
        """Frames were dropped since the reader last cleared this."""
        self.heard = False
        """Whether any frame has ever come: somebody took the completion out of the queue."""
        self.last_heard = clock()

    def put(self, frame: Frame) -> None:
        """Take a frame in, or drop it and say so."""
        self.heard = True
        self.last_heard = self._clock()
        if not self._relays and frame.kind is not FrameKind.END:
            return
        size = len(frame.body) + _FRAME_COST
        if self._bytes + size > self._limit and self._frames:
            self.overflowed = True
        else:
            self._frames.append(frame)
            self._bytes += size
        self._release()

    def relay_no_more(self) -> None:
        """From now on only ends are kept: nobody wants the tokens."""
        self._relays = False
        ends = [frame for frame in self._frames if frame.kind is FrameKind.END]
        self._frames, self._bytes = ends, 0

    def take(self) -> list[Frame]:
        """Everything that waits, in order of arrival."""
        frames = self._frames
        if frames:
            self._frames = []
            self._bytes = 0
        return frames

    def wake(self) -> None:
        """Let the reader look around: the client is gone, or the connection is back."""
        self._woken = True
        self._release()

    async def wait(self, until: float) -> None:
        """Return once there is a frame, a ``wake`` since the last call, or it is ``until``."""
        if not self._frames and not self._woken and self._clock() < until:
            self._until = until
            self._arm()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False

    def close(self) -> None:
        """Drop the timer; the reader is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _arm(self) -> None:
        # One timer for many waits: setting and cancelling one per token costs more than the
        # relaying. It is replaced only when the new deadline is earlier.
        if self._timer is not None:
            if self._timer.when() <= self._until:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._until, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._clock() < self._until:
            self._arm()
        else:
            self._release()
