"""In which order the queues are asked: pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_A_IN_A_ROW: Final = 3


@dataclass(frozen=True, slots=True)
class Source:
    """One queue that this worker takes from: a model and a lane."""

    model: str
    lane: str
    ack_wait: float
    """Seconds that the broker waits for a sign of life of a pulled request."""


class Lanes:
    """Lane ``a`` of all models before lane ``b``, but ``b`` first at least every fourth time.

    Models take turns: the one that was served last is asked last.
    """

    def __init__(self) -> None:
        self._since_b = 0
        self._last_model = ""

    def order(self, sources: Sequence[Source]) -> list[Source]:
        """The queues in the order in which a free slot asks them."""
        b_first = self._since_b >= _A_IN_A_ROW
        return sorted(sources, key=lambda source: self._rank(source, b_first=b_first))

    def taken(self, source: Source) -> None:
        """Note that a request came from there."""
        self._since_b = 0 if source.lane == "b" else self._since_b + 1
        self._last_model = source.model

    def _rank(self, source: Source, *, b_first: bool) -> tuple[bool, bool, str]:
        later_lane = (source.lane == "a") if b_first else (source.lane == "b")
        return (later_lane, source.model <= self._last_model, source.model)
