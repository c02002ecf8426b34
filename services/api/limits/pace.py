"""How often a caller may ask this gateway for what starts no answer: in memory, for that is cheap.

A round trip to the broker for each of these would cost more than most of them do.
"""

from collections.abc import Callable
from typing import Final

from services.api.limits.gcra import MINUTE, SECOND, Rate
from services.api.limits.refusals import OverLimit, too_many_others
from shared.contracts.ids import UserId

_MANY: Final = 1024


class Pace:
    """A limit of this gateway for each user."""

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        """Allow ``limit`` a minute, 0 for any number."""
        self._rate = Rate(limit, MINUTE) if limit else None
        self._monotonic = monotonic
        self._readings: dict[UserId, int] = {}
        self._tidy_at = _MANY

    def count(self, user_id: UserId) -> None:
        """One more.

        Raises:
            OverLimit: too many.
        """
        rate = self._rate
        if rate is None:
            return
        now, reading = self._now(), self._readings.get(user_id, 0)
        wait = rate.wait(reading, now)
        if wait:
            raise OverLimit(too_many_others(rate.limit, wait), None)
        self._readings[user_id] = rate.taken(reading, now)
        if len(self._readings) >= self._tidy_at:
            self._tidy(now)

    def give_back(self, user_id: UserId) -> None:
        """It was none of these after all."""
        reading = self._readings.get(user_id)
        if self._rate is not None and reading is not None:
            self._readings[user_id] = self._rate.taken(reading, self._now(), -1)

    def _tidy(self, now: int) -> None:
        # Callers without a name are told apart by address: there may be any number of them.
        self._readings = {user: at for user, at in self._readings.items() if at > now}
        self._tidy_at = max(_MANY, 2 * len(self._readings))

    def _now(self) -> int:
        return int(self._monotonic() * SECOND)
