"""Where in the queue a request is, and for how long yet: pure arithmetic over what was polled."""

import math
from collections import deque
from typing import Final, NamedTuple

_TURNS: Final = 3
"""How many of lane ``a`` workers may take before one of lane ``b``."""
_WINDOW: Final = 60.0


class Depth(NamedTuple):
    """One look at a lane."""

    pending: int
    """Requests that no worker has got yet."""
    delivered: int
    """How often workers have got one, ever."""
    last_number: int
    """The number of the last one that a worker got."""


class QueueNews(NamedTuple):
    """What somebody who waits is told."""

    position: int
    """1 is next."""
    estimated_wait_ms: int | None
    """Absent while nobody was seen to be served."""


class Pace:
    """How fast a lane is served, by what was seen of it in the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, now: float, delivered: int) -> None:
        """A look at ``now`` found so many deliveries."""
        if self._seen and delivered < self._seen[-1][1]:
            # The queue was made anew.
            self._seen.clear()
        # A look that found nothing new is no measure of speed: whoever is served takes his time.
        if not self._seen or delivered > self._seen[-1][1]:
            self._seen.append((now, delivered))
        while len(self._seen) > 1 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()

    def per_second(self) -> float:
        """Deliveries each second, up to the last one; 0 while none were seen."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def last(self) -> float:
        """When a delivery was seen last, or when the first look was."""
        return self._seen[-1][0]


class Place:
    """One request in its lane."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._ahead: tuple[int, int] | None = None

    def position(self, depth: Depth, behind: int) -> int | None:
        """Its position in its lane; ``None`` once a worker has got it.

        Args:
            depth: The lane now.
            behind: How many are known to have come after it: counts at the first look, as others
                may have come since it was queued.
        """
        if depth.last_number >= self.number or depth.pending < 1:
            return None
        if self._ahead is None or depth.delivered < self._ahead[1]:
            self._ahead = (depth.pending - behind, depth.delivered)
        at_first, delivered = self._ahead
        return max(1, min(at_first - (depth.delivered - delivered), depth.pending))


def in_lane_b(position: int, waiting_in_a: int) -> int:
    """The position of one in lane ``b`` over both lanes."""
    return position + min(waiting_in_a, _TURNS * position)


def news(position: int, per_second: float, since: float = 0.0) -> QueueNews:
    """What to tell who waits at ``position``.

    Args:
        position: 1 is next.
        per_second: How fast others were served.
        since: Seconds since the last of them was: so much of the next one's time is over.
    """
    if per_second <= 0:
        return QueueNews(position, None)
    each = 1 / per_second
    wait = max(position * each - since, (position - 1) * each)
    return QueueNews(position, math.ceil(1000 * wait))
