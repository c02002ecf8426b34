"""The generic cell rate algorithm, in whole nanoseconds: pure.

A reading is one number, the moment at which all that was used will have been earned back. Whole
numbers, because twenty times three seconds must be a minute: in floats the twentieth may not fit.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


class Level(NamedTuple):
    """How a reading stands."""

    limit: int
    remaining: int
    """What may be taken at once."""
    reset: int
    """Nanoseconds until all of ``limit`` may be taken again."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``limit`` at once, earned back evenly over ``period`` nanoseconds."""

    limit: int
    period: int
    most_debt: int = 0
    """Nanoseconds by which more than ``limit`` may have been used."""

    @property
    def interval(self) -> int:
        """Nanoseconds in which one is earned back."""
        return max(1, self.period // self.limit)

    @property
    def window(self) -> int:
        """Nanoseconds in which all are earned back."""
        return self.limit * self.interval

    def level(self, reading: int, now: int) -> Level:
        """What is left."""
        used = self._believed(reading, now) - now
        return Level(self.limit, max(0, (self.window - used) // self.interval), used)

    def wait(self, reading: int, now: int) -> int:
        """Nanoseconds until one more may be taken; 0 for now."""
        return max(0, self._believed(reading, now) + self.interval - self.window - now)

    def taken(self, reading: int, now: int, count: int = 1) -> int:
        """The reading after ``count`` more, allowed or not; a negative count gives back."""
        return self._believed(self._believed(reading, now) + count * self.interval, now)

    def _believed(self, reading: int, now: int) -> int:
        # Gateways' clocks differ: one that is fast must not lock its users out until the others
        # catch up, so no reading is further ahead than honest use can bring it.
        return min(max(reading, now), now + self.window + self.most_debt)
