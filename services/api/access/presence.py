"""What callers have open here: it ends when their credentials do."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from services.api.access.caller import Caller
from services.api.ports.broker import Clock
from shared.contracts.ids import UserId
from shared.contracts.user_purge import user_digest

_K = TypeVar("_K", bound=str)

_LOOK_AT_LEAST_EVERY: Final = 3600.0
"""Seconds: the loop's clock and that of the wall drift apart."""


class Visit:
    """One open stream or socket."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self.over = False
        """Whether its caller may no longer be here."""
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """The caller's credentials are no longer valid."""
        self.stop_waiting()
        if not self.over:
            self.over = True
            self._gone()

    def wait_until(self, expires_at: datetime, clock: Clock) -> None:
        """End it at that moment."""
        left = (expires_at - clock.now()).total_seconds()
        if left <= 0:
            self.end()
            return
        self._timer = asyncio.get_running_loop().call_later(
            min(left, _LOOK_AT_LEAST_EVERY), self.wait_until, expires_at, clock
        )

    def stop_waiting(self) -> None:
        """No longer end it at its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Presence:
    """All visits of this gateway."""

    def __init__(
        self,
        clock: Clock,
        *,
        lives: Callable[[str], bool],
        departing: Callable[[UserId], bool],
    ) -> None:
        """Nobody is here.

        Args:
            clock: For credentials that expire.
            lives: Whether a key still lets somebody in.
            departing: Whether everything of a user is being removed.
        """
        self._clock = clock
        self._lives = lives
        self._departing = departing
        self._by_key: defaultdict[str, set[Visit]] = defaultdict(set)
        self._by_user: defaultdict[UserId, set[Visit]] = defaultdict(set)

    def lives(self, key_id: str) -> bool:
        """Whether this key still lets somebody in, its expiry aside."""
        return self._lives(key_id)

    def enter(
        self, caller: Caller, gone: Callable[[], None], *, until_expiry: bool = False
    ) -> Visit:
        """Something opens; ``leave`` it when it closes.

        Args:
            caller: Whose it is.
            gone: Called once when the caller's key is revoked, or everything of the user is to
                be removed; at once, if that is so already.
            until_expiry: Also call it when the credentials expire. What was begun before that may
                end by itself; who can begin something new must not stay.
        """
        visit = Visit(gone)
        revoked = caller.key_id is not None and not self._lives(caller.key_id)
        if revoked or self._departing(caller.user_id):
            # Since it was looked at.
            visit.end()
            return visit
        if caller.key_id is not None:
            self._by_key[caller.key_id].add(visit)
        self._by_user[caller.user_id].add(visit)
        if until_expiry and caller.expires_at is not None:
            visit.wait_until(caller.expires_at, self._clock)
        return visit

    def leave(self, caller: Caller, visit: Visit) -> None:
        """It has closed; harmless when it was ended."""
        visit.stop_waiting()
        if caller.key_id is not None:
            _remove(self._by_key, caller.key_id, visit)
        _remove(self._by_user, caller.user_id, visit)

    def key_gone(self, key_id: str) -> None:
        """This key lets nobody in any more."""
        for visit in self._by_key.pop(key_id, ()):
            visit.end()

    def user_gone(self, digest: str) -> None:
        """Everything of this user is being removed."""
        for user_id in [each for each in self._by_user if user_digest(each) == digest]:
            for visit in self._by_user.pop(user_id):
                visit.end()


def _remove(visits: defaultdict[_K, set[Visit]], whose: _K, visit: Visit) -> None:
    if whose in visits:
        visits[whose].discard(visit)
        if not visits[whose]:
            del visits[whose]
