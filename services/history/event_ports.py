"""The log of events, as history reads, answers and cleans it."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId


class RawEvent(NamedTuple):
    """An event as the stream keeps it."""

    subject: str
    sequence: int
    time: datetime
    """The broker's clock at publishing."""
    data: bytes


class Delivery(Protocol):
    """One event on its way from the consumer; exactly one of the last three ends it."""

    @property
    def event(self) -> RawEvent:
        """What was delivered."""
        ...

    async def in_progress(self) -> None:
        """Somebody still works on it: do not deliver it to another."""
        ...

    async def done(self) -> None:
        """It is stored; returns when the broker knows it, or it comes again."""
        ...

    async def again(self, delay: float) -> None:
        """Deliver it again after ``delay`` seconds."""
        ...

    async def drop(self) -> None:
        """Never deliver it again."""
        ...


class DeadLetters(Protocol):
    """Where poison goes."""

    async def bury(self, event: RawEvent, reason: str) -> None:
        """Keep the original bytes; returns once they are stored.

        Raises:
            BrokerUnavailable: NATS did not acknowledge.
            ApiError: the stream of dead letters refuses, because it is full for example.
        """
        ...


@dataclass(frozen=True)
class LogState:
    """How full the log is."""

    first_sequence: int
    last_sequence: int
    size: int
    max_size: int
    """0 or less: no limit."""


@dataclass(frozen=True)
class Progress:
    """How far the consumer of all replicas together has come."""

    floor: int
    """Every event up to this sequence number is stored."""
    waiting: int
    """Events not delivered yet."""
    in_hand: int
    """Events delivered and not acknowledged."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to store."""
        return self.waiting == 0 and self.in_hand == 0


class EventEraser(Protocol):
    """Takes single events out of the log."""

    async def erase(self, subject: str) -> None:
        """Remove the event of this subject.

        Raises:
            BrokerUnavailable, ApiError: perhaps not done.
        """
        ...


class EventLog(EventEraser, Protocol):
    """``CHAT_EVENTS`` beside its consumer.

    Every method raises ``BrokerUnavailable`` or ``ApiError``.
    """

    async def find(self, completion_id: CompletionId) -> list[RawEvent]:
        """The events of a completion that the log still has, ``accepted`` first."""
        ...

    async def close(self, end: CompletionCompleted) -> bool:
        """Publish the end of a completion; ``False`` if it has one already."""
        ...

    async def state(self) -> LogState:
        """How full the log is."""
        ...

    async def progress(self) -> Progress:
        """How far the consumer has come."""
        ...

    async def first_since(self, time: datetime) -> int | None:
        """Sequence of the first event at or after ``time``; ``None`` if all are older."""
        ...

    async def purge(self, below: int) -> None:
        """Remove all events with a sequence number lower than ``below``."""
        ...
