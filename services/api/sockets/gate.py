"""Who may open a socket, and how many."""

import ipaddress
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.contracts.ids import UserId


class SocketTiming(NamedTuple):
    """In seconds."""

    idle: float
    """Without a message of the client's."""
    send: float
    """Without a byte taken by it."""


class SocketGate:
    """Browsers send cookies and local addresses along from any page: ``Origin`` says which page."""

    def __init__(self, *, origins: Sequence[str], per_user: int, timing: SocketTiming) -> None:
        """Nobody is here.

        Args:
            origins: Pages of other hosts that may open sockets.
            per_user: Sockets that a user may have at this gateway.
            timing: Their patience.
        """
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._per_user = per_user
        self._open: Counter[UserId] = Counter()
        self.timing = timing

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether the page that asks may: none (no browser), one of this host, or a listed one.

        This host under a name that is no loopback name may be a page that has changed what its own
        name means (DNS rebinding).
        """
        origin = headers.get("origin")
        if origin is None:
            return True
        if origin.rstrip("/").lower() in self._origins:
            return True
        host = headers.get("host", "")
        try:
            page = urlsplit(origin)
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return page.netloc.lower() == host.lower() and _is_loopback(name)

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


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
