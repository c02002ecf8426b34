"""When a dead child starts again, and when the launcher gives up: pure policy."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartPolicy:
    """The deaths of one child.

    The delay doubles with each death and starts anew once the child has lived for ``window``
    seconds; ``limit`` deaths within ``window`` are the end.
    """

    first_delay: float = 0.2
    longest_delay: float = 5.0
    limit: int = 5
    window: float = 60.0
    _deaths: deque[float] = field(default_factory=deque)
    _streak: int = 0

    def died(self, now: float) -> float | None:
        """Seconds until the next start after a death at ``now``; ``None`` means: give up."""
        if self._deaths and now - self._deaths[-1] > self.window:
            self._streak = 0
        self._deaths.append(now)
        while now - self._deaths[0] > self.window:
            self._deaths.popleft()
        if len(self._deaths) >= self.limit:
            return None
        delay = min(self.first_delay * 2**self._streak, self.longest_delay)
        self._streak += 1
        return float(delay)
