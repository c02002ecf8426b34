"""Users whose data is being removed: nobody comes in as one of them until that is over."""

from collections.abc import Callable, Set

from services.api.access.refusals import UserDeparting
from shared.contracts.user_purge import user_digest


class Departures:
    """By digests of users, as history says them to all gateways."""

    def __init__(self) -> None:
        self._departing: set[str] = set()
        self._heard: set[str] = set()
        self._on_begin: list[Callable[[str], None]] = []

    def call_when_begun(self, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the digest of each user whose data begins to be removed."""
        self._on_begin.append(callback)

    def begin(self) -> None:
        """All words are being read: what is heard from now on is newer than what is read."""
        self._heard.clear()

    def replace(self, departing: Set[str]) -> None:
        """All words were read, and these users go; that it is over may have been missed."""
        self._departing.intersection_update(departing | self._heard)
        for digest in departing - self._heard:
            self._add(digest)

    def hear(self, digest: str, *, under_way: bool) -> None:
        """What history says of a user."""
        self._heard.add(digest)
        if not under_way:
            self._departing.discard(digest)
        else:
            self._add(digest)

    def _add(self, digest: str) -> None:
        if digest not in self._departing:
            self._departing.add(digest)
            for callback in self._on_begin:
                callback(digest)

    def departing(self, user_id: str) -> bool:
        """Whether everything of this user is being removed."""
        # Nobody nearly always: no hash for each request.
        return bool(self._departing) and user_digest(user_id) in self._departing

    def check(self, user_id: str) -> None:
        """Go on with a user who stays.

        Raises:
            UserDeparting: everything of this user is being removed.
        """
        if self.departing(user_id):
            raise UserDeparting("Everything of this user is being removed; try again later.")
