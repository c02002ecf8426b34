"""``EventLog``, ``Delivery`` and ``DeadLetters`` in memory."""

from datetime import datetime

from services.history.event_ports import LogState, Progress, RawEvent
from shared.contracts import subjects
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable


def raw(
    event: CompletionAccepted | CompletionCompleted, time: datetime, sequence: int = 1
) -> RawEvent:
    """The event as the stream keeps it."""
    subject_of = subjects.accepted if isinstance(event, CompletionAccepted) else subjects.completed
    return RawEvent(subject_of(event.completion_id), sequence, time, event.to_bytes())


class MemoryLog:
    """Events in order; ``floor`` is how far a consumer has come."""

    def __init__(self, events: list[RawEvent] | None = None, *, max_size: int = -1) -> None:
        self.events = list(events or [])
        self.floor = 0
        self.last = 0
        """The last sequence that there ever was, where that was purged."""
        self.deaf = False
        """The consumer has not heard of what was published."""
        self.max_size = max_size
        self.purged_below: list[int] = []
        self.available = True
        self.looked = 0
        self.searched: list[CompletionId] = []

    def _check(self) -> None:
        if not self.available:
            raise BrokerUnavailable("away")

    async def find(self, completion_id: CompletionId) -> list[RawEvent]:
        self._check()
        self.searched.append(completion_id)
        wanted = (subjects.accepted(completion_id), subjects.completed(completion_id))
        return [event for event in self.events if event.subject in wanted]

    async def erase(self, subject: str) -> None:
        self._check()
        self.events = [event for event in self.events if event.subject != subject]

    async def close(self, end: CompletionCompleted) -> bool:
        self._check()
        subject = subjects.completed(end.completion_id)
        if any(event.subject == subject for event in self.events):
            return False
        self.events.append(raw(end, end.completed_at, len(self.events) + 1))
        return True

    async def state(self) -> LogState:
        self._check()
        last = max((event.sequence for event in self.events), default=self.last)
        first = min((event.sequence for event in self.events), default=last + 1)
        return LogState(first, last, sum(len(event.data) for event in self.events), self.max_size)

    async def progress(self) -> Progress:
        self._check()
        self.looked += 1
        waiting = 0 if self.deaf else sum(it.sequence > self.floor for it in self.events)
        return Progress(self.floor, waiting, 0)

    async def first_since(self, time: datetime) -> int | None:
        self._check()
        return min((event.sequence for event in self.events if event.time >= time), default=None)

    async def purge(self, below: int) -> None:
        self._check()
        self.purged_below.append(below)
        self.events = [event for event in self.events if event.sequence >= below]


class RecordingDelivery:
    """Remembers what became of one event."""

    def __init__(self, event: RawEvent) -> None:
        self._event = event
        self.calls: list[str] = []

    @property
    def event(self) -> RawEvent:
        return self._event

    async def in_progress(self) -> None:
        self.calls.append("in_progress")

    async def done(self) -> None:
        self.calls.append("done")

    async def again(self, delay: float) -> None:
        self.calls.append("again")

    async def drop(self) -> None:
        self.calls.append("drop")


class MemoryDeadLetters:
    """Keeps what is buried; ``available = False`` refuses."""

    def __init__(self) -> None:
        self.buried: list[tuple[RawEvent, str]] = []
        self.available = True

    async def bury(self, event: RawEvent, reason: str) -> None:
        if not self.available:
            raise BrokerUnavailable("away")
        self.buried.append((event, reason))
