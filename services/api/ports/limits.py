"""Where all gateways count together what a caller uses."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class HeldMeter(NamedTuple):
    """Readings, and the revision that a change must name."""

    readings: Mapping[str, int]
    revision: int


class HeldSlot(NamedTuple):
    """Who has a slot."""

    owner: str
    revision: int


class MeterStore(Protocol):
    """Readings by holder; ``holder`` is a hash of nothing but ``[0-9a-f]``."""

    async def get(self, holder: str) -> HeldMeter | None:
        """The readings, or ``None``.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def set(
        self, holder: str, readings: Mapping[str, int], revision: int | None, ttl: float
    ) -> bool:
        """Replace the readings of ``revision``, ``None`` for absent ones; false if they changed.

        Args:
            holder: Whose.
            readings: By name, in nanoseconds.
            revision: What they were read at.
            ttl: Seconds after which they say nothing any more.

        Raises:
            BrokerUnavailable: not set, or set without our hearing of it.
        """
        ...


class Slots(Protocol):
    """Numbered places of a holder, each held by one owner, for 15 s at a time."""

    async def take(self, holder: str, slot: int, owner: str) -> int | None:
        """Hold a free slot; gives the revision, ``None`` if somebody holds it.

        Raises:
            BrokerUnavailable: not taken, or taken without our hearing of it.
        """
        ...

    async def renew(self, holder: str, slot: int, owner: str, revision: int) -> int | None:
        """Hold it for another 15 s; gives the new revision, ``None`` if ``revision`` is past.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def find(self, holder: str, slot: int) -> HeldSlot | None:
        """Who holds it.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def release(self, holder: str, slot: int, revision: int) -> bool:
        """Let it go at once; false if ``revision`` is past.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...
