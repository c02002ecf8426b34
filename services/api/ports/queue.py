"""What a gateway needs to find and end a request that another one may have queued."""

from typing import NamedTuple, Protocol

from services.api.ports.queue_news import Depth
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId


class Waiting(NamedTuple):
    """A request that is in the queue, taken by a worker or not."""

    number: int
    """By which it can be withdrawn."""
    command: RunCompletion
    begun: bool
    """Whether a worker has begun to answer it: then what there is of the answer is a worker's."""


class QueueNotes(Protocol):
    """Where in the queue every request is, for all gateways."""

    async def note(self, completion_id: CompletionId, number: int) -> None:
        """Write down the number of a request; nobody waits for it, and it may get lost."""
        ...

    async def find(self, completion_id: CompletionId) -> Waiting | None:
        """The request, or ``None`` if it is not there any more or was never written down.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def waits(self, completion_id: CompletionId) -> bool:
        """Whether ``find`` would find it, without taking it apart: it may be megabytes.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def search(self, accepted: CompletionAccepted) -> Waiting | None:
        """The request without its note: reads what was queued since ``accepted``.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def age(self, accepted: CompletionAccepted) -> float:
        """Seconds since the broker has stored ``accepted``, by the broker's own clock.

        Machines' clocks differ, and what hangs on this cannot be taken back.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...

    async def begun(self, reply_subject: str) -> bool:
        """Whether anything was sent there in answer to a request.

        Raises:
            BrokerUnavailable: no answer.
        """
        ...


class Announcements(Protocol):
    """Tells readers everywhere."""

    async def ended(self, reply_subject: str, end: CompletionCompleted) -> None:
        """Tell all readers of a recorded end; who does not hear it asks the journal in time."""
        ...


class Depths(Protocol):
    """How many wait for a model."""

    async def look(self, model: str, lane: str) -> Depth:
        """One lane, now.

        Raises:
            BrokerUnavailable: no answer, or no such queue.
        """
        ...
