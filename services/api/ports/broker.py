"""What the use cases of the gateway need from the world, in their words."""

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from services.api.ports.mailbox import Mailbox
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId

Alarm = Callable[[], None]


class AlreadyAccepted(Exception):
    """Somebody else has accepted this completion, and owes its request and its end."""


class Service(Enum):
    """Who serves a model now."""

    SERVED = auto()
    NOBODY = auto()
    SILENT = auto()
    """Somebody should, but did not answer: a worker that hangs or is cut off."""


class Heard(Enum):
    """What became of a control request."""

    YES = auto()
    NOBODY = auto()
    """No worker runs this completion."""
    SILENT = auto()


class Broker(Protocol):
    """The connection itself."""

    def ready(self) -> bool:
        """Whether it is connected and the inbox is proven."""
        ...

    def connections(self) -> int:
        """How often it has been connected: another number means that things may be missed."""
        ...

    @property
    def max_payload(self) -> int:
        """The largest message in bytes, as the server says."""
        ...

    async def ping(self) -> float:
        """One round trip, in seconds.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...


class Workers(Protocol):
    """Those who serve models."""

    async def probe(self, model: str) -> Service:
        """Ask who serves ``model``; 0.3 s at most.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...

    async def cancel(self, completion_id: CompletionId) -> Heard:
        """Ask whoever runs the completion to stop; 0.3 s at most.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...

    async def resend(self, completion_id: CompletionId, after: int) -> Heard:
        """Ask whoever runs the completion for a snapshot as a frame; 0.3 s at most.

        Args:
            completion_id: Whose answer.
            after: The last index that the asker has, -1 for none.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...


class KnownModels(Protocol):
    """Names of the last 24 hours, served now or not."""

    async def seen(self, model: str) -> bool:
        """Whether any worker has offered ``model`` in the last 24 h.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...


class Journal(Protocol):
    """The facts of completions; first writer wins."""

    async def accept(self, event: CompletionAccepted) -> None:
        """Record that somebody owes an end from here on.

        Raises:
            AlreadyAccepted: somebody else has recorded it.
            BrokerUnavailable: not recorded, or recorded without our hearing of it.
            HistoryBacklog: the journal is full.
        """
        ...

    async def complete(self, event: CompletionCompleted) -> CompletionCompleted:
        """Record the end; if there is one already, that one stands and this is no error.

        Returns:
            The end that stands.

        Raises:
            BrokerUnavailable: as for ``accept``.
        """
        ...

    async def accepted(self, completion_id: CompletionId) -> CompletionAccepted | None:
        """What was taken on, or ``None`` where nobody knows of it (any more).

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """The end of a completion, or ``None`` while it has none.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...


class Backlog(Protocol):
    """How far history is behind, and the workers."""

    def too_long(self) -> bool:
        """Whether so much waits for history that new work would be lost."""
        ...

    def requests(self) -> int | None:
        """Requests that wait or run, of all models; ``None`` while that is not known."""
        ...


class Queue(Protocol):
    """Requests that wait for a worker."""

    async def enqueue(self, command: bytes, model: str, lane: str) -> int:
        """Queue a request; gives the number by which it can be withdrawn.

        Raises:
            QueueFull: the model's queue holds as many as it may.
            BrokerUnavailable: not queued, or queued without our hearing of it.
        """
        ...

    async def withdraw(self, number: int, completion_id: CompletionId) -> bool:
        """Take a request out again; ``False`` if a worker has it already or it is gone.

        A broker that has lost its data gives numbers anew: another's request stays.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...


class Tombstones(Protocol):
    """Cancelled completions: a worker looks before it begins, and while it runs."""

    async def put(self, completion_id: CompletionId, *, asked: bool = False) -> None:
        """Mark the completion until all its deadlines have passed.

        Args:
            completion_id: What shall stop.
            asked: Somebody asked for that; else its client has gone away.

        Raises:
            BrokerUnavailable: not marked, or marked without our hearing of it.
        """
        ...


class FrameLog(Protocol):
    """The stored frames of a completion."""

    def replay(self, completion_id: CompletionId, start: int) -> AsyncGenerator[tuple[int, Frame]]:
        """The frames from position ``start`` of the log on, in its order, each with its position.

        Raises:
            BrokerUnavailable: the log does not answer.
        """
        ...


class Mailboxes(Protocol):
    """The gateway's inbox, by completion."""

    def reply_subject(self, completion_id: CompletionId) -> str:
        """Where the frames of a completion are to be sent."""
        ...

    def register(self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm) -> None:
        """Put its frames into ``mailbox``; call ``alarm`` when some may have been lost."""
        ...

    def remove(self, completion_id: CompletionId, mailbox: Mailbox) -> None:
        """Drop its frames from now on; harmless twice, and where another mailbox gets them."""
        ...


class Clock(Protocol):
    """Time as the use cases see it."""

    def monotonic(self) -> float:
        """Seconds that only grow; the event loop's own."""
        ...

    def now(self) -> datetime:
        """Wall-clock time, aware, in UTC: for people, never for deadlines."""
        ...
