"""Idempotency keys: what stands behind one, and who keeps them."""

from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple, Protocol

from shared.contracts.ids import CompletionId
from shared.contracts.wire import WireModel


class KeyEntry(WireModel):
    """What a key was first used for."""

    completion_id: CompletionId
    body: str
    """Digest of the request's body: the same key with another body is a mistake."""
    created_at: datetime
    """The ``created`` of every chunk, whoever sends it."""


class HeldKey(NamedTuple):
    """An entry, and the revision that a change must name."""

    entry: KeyEntry
    revision: int


class Mark(Enum):
    """Whether a completion was told to stop, and by whom."""

    NONE = auto()
    FORSAKEN = auto()
    """Its client went away."""
    ASKED = auto()
    """Somebody asked for that."""


class Keys(Protocol):
    """Keys of the last ten minutes, by the hash of user and key."""

    async def get(self, key: str) -> HeldKey | None:
        """The entry, or ``None``.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def set(self, key: str, entry: KeyEntry, revision: int | None) -> int | None:
        """Replace the entry of ``revision``, ``None`` for an absent one; ``None`` if it changed.

        Raises:
            BrokerUnavailable: not set, or set without our hearing of it.
        """
        ...

    async def release(self, key: str, revision: int) -> None:
        """Forget the entry of ``revision``; another one stays.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...


class Marks(Protocol):
    """Reads the tombstones that a cancel leaves."""

    async def look(self, completion_id: CompletionId) -> Mark:
        """The tombstone of a completion.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...
