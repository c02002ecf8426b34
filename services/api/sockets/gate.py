"""How many sockets a user may open, and for how long; ``access`` says who may."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from shared.contracts.ids import UserId


class SocketTiming(NamedTuple):
    """In seconds."""

    idle: float
    """Without a message of the client's."""
    send: float
    """Without a byte taken by it."""


class SocketGate:
    """Counts them."""

    def __init__(self, *, per_user: int, timing: SocketTiming) -> None:
        """Nobody is here.

        Args:
            per_user: Sockets that a user may have at this gateway.
            timing: Their patience.
        """
        self._per_user = per_user
        self._open: Counter[UserId] = Counter()
        self.timing = timing

    @contextmanager
    def counted(self, user_id: UserId) -> Generator[bool]:
        """Whether the user may have one more, which counts as long as this lasts."""
        if self._open[user_id] >= self._per_user:
            yield False
            return
        self._open[user_id] += 1
        try:
            yield True
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
