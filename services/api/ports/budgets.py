"""Where all gateways count together what a month's budget has left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, Protocol

from shared.contracts.ids import CompletionId


@dataclass(frozen=True, slots=True)
class Counter:
    """What a month has cost so far, and which answers will be added when they end."""

    tokens: int = 0
    money: Decimal = Decimal(0)
    open: Mapping[CompletionId, int] = field(default_factory=dict)
    """Answers that are under way, and when (seconds since 1970) they must have ended."""
    whole: bool = True
    """Whether the sum is known at all, however old."""
    doubts: int = 0
    """Ends since the last sum of which nobody knows whether they are in it."""
    again: int = 0
    """When (seconds since 1970) it is to be summed anew, as all will have ended that it may not
    know to be under way; 0 for never."""


class HeldCounter(NamedTuple):
    """A counter, and the revision that a change must name."""

    counter: Counter
    revision: int


class CounterStore(Protocol):
    """Counters by key, which is of ``[-.a-z0-9]``.

    A revision names one value for ever, also where all of them are lost and written anew.

    Raises (every call):
        BrokerUnavailable: no answer; perhaps done.
    """

    async def get(self, key: str) -> HeldCounter | None:
        """The counter, or ``None``."""
        ...

    async def set(self, key: str, counter: Counter, revision: int | None, ttl: float) -> bool:
        """Replace the one of ``revision``, ``None`` for an absent one; false if it has changed.

        Args:
            key: Whose, and of which month.
            counter: What it is now.
            revision: What it was read at.
            ttl: Seconds after which nobody asks for it any more.
        """
        ...
