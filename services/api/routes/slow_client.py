"""Cut off a client that takes nothing for too long, at the cost of one timer per stream.

A time-out around each ``send`` would cost more than the relaying: nearly all of them return at
once, as the server only waits when its buffer is full.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import Message, Send


class ClientTooSlow(Exception):
    """The client has taken no byte for too long."""


class PatientSend:
    """``send`` that remembers since when it has been waiting."""

    def __init__(self, send: Send, patience: float, cut: asyncio.Timeout) -> None:
        self._send = send
        self._patience = patience
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(patience, self._look)

    async def __call__(self, message: Message) -> None:
        """Send, however long the client takes; the timer watches."""
        self._since = self._loop.time()
        await self._send(message)
        self._since = None

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = (self._since if self._since is not None else now) + self._patience
        if due <= now:
            self._cut.reschedule(now)
        else:
            self._timer = self._loop.call_at(due, self._look)


@asynccontextmanager
async def patient(send: Send, patience: float) -> AsyncGenerator[PatientSend]:
    """Wrap ``send`` for the length of a stream.

    Raises:
        ClientTooSlow: one ``send`` took longer than ``patience`` seconds.
    """
    try:
        async with asyncio.timeout(None) as cut:
            watched = PatientSend(send, patience, cut)
            try:
                yield watched
            finally:
                watched.close()
    except TimeoutError as error:
        raise ClientTooSlow from error
