"""The broker's side of a completion, in memory; ``log`` is what happened, in order."""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.inference_worker.ports import Asked
from services.inference_worker.sse import deltas
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable


@dataclass
class FakeBroker:
    """``Frames``, ``Ledger`` and ``Control`` in one, so that the order among them can be seen."""

    room: int = 10_000
    log: list[str] = field(default_factory=list)
    sent: list[Frame] = field(default_factory=list)
    ends: dict[str, bytes] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    stored: list[tuple[int, Frame]] = field(default_factory=list)
    before_takeover: list[tuple[int, Frame]] = field(default_factory=list)
    """What somebody else gets stored just before a takeover of this one's."""
    buried: list[tuple[bytes, str]] = field(default_factory=list)
    abilities: dict[str, bool] = field(default_factory=dict)
    failures: int = 0
    """How many of the next calls to ``complete`` find the broker away."""
    unanswered: bool = False
    """Whether nobody answers who asks for a tombstone."""
    silent_after: float = math.inf
    """After how many questions for a tombstone the broker falls silent."""
    asked_for_tombstones: int = 0
    seconds_spent: float = 0.0
    asked: Asked | None = None
    listening: int = 0
    on_send: Callable[[Frame], None] | None = None

    async def send(self, subject: str, frame: Frame) -> None:
        """See ``Frames``."""
        self.sent.append(frame)
        self.log.append(frame.kind.name)
        if self.on_send:
            self.on_send(frame)

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """See ``Ledger``."""
        end = self.ends.get(completion_id)
        return CompletionCompleted.from_bytes(end) if end else None

    async def complete(self, completion_id: CompletionId, payload: bytes) -> bytes:
        """See ``Ledger``."""
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("away")
        self.log.append("completed")
        return self.ends.setdefault(completion_id, payload)

    async def cancelled(self, completion_id: CompletionId) -> bool:
        """See ``Ledger``."""
        self.asked_for_tombstones += 1
        if self.unanswered or self.asked_for_tombstones > self.silent_after:
            raise BrokerUnavailable("no answer")
        return completion_id in self.tombstones

    async def frames(
        self, completion_id: CompletionId, after: int, up_to: int | None = None
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """See ``Ledger``."""
        for sequence, frame in self.stored:
            if sequence > after and (up_to is None or sequence <= up_to):
                yield sequence, frame

    async def take_over(self, subject: str, frame: Frame) -> int:
        """See ``Ledger``."""
        self.log.append("TAKEOVER")
        self.sent.append(frame)
        self.stored.extend(self.before_takeover)
        sequence = self.stored[-1][0] + 1 if self.stored else 1
        self.stored.append((sequence, frame))
        return sequence

    async def recall(self, fingerprint: str) -> bool | None:
        """See ``AbilityMemory``."""
        return self.abilities.get(fingerprint)

    async def remember(self, fingerprint: str, *, able: bool) -> None:
        """See ``AbilityMemory``."""
        self.abilities[fingerprint] = able

    async def spent(self, subject: str) -> float:
        """See ``Ledger``."""
        return self.seconds_spent

    async def bury(self, data: bytes, reason: str) -> None:
        """See ``Ledger``."""
        self.log.append("buried")
        self.buried.append((data, reason))

    @asynccontextmanager
    async def listen(self, completion_id: CompletionId, asked: Asked) -> AsyncGenerator[None]:
        """See ``Control``."""
        self.asked = asked
        self.listening += 1
        try:
            yield
        finally:
            self.listening -= 1

    async def call_off(self, completion_id: CompletionId) -> None:
        """See ``Control``."""
        self.log.append("call_off")

    @property
    def end(self) -> CompletionCompleted:
        """The one end that was recorded."""
        (payload,) = self.ends.values()
        return CompletionCompleted.from_bytes(payload)

    def frames_of(self, kind: FrameKind) -> list[Frame]:
        """What was sent of one kind."""
        return [frame for frame in self.sent if frame.kind is kind]

    @property
    def text(self) -> str:
        """What a reader of the token frames has got."""
        bodies = (frame.body for frame in self.frames_of(FrameKind.TOKENS))
        return "".join(delta.get("content", "") for body in bodies for delta in deltas(body))


@dataclass
class FakeJob:
    """A pulled request."""

    data: bytes
    log: list[str]
    deliveries: int = 1
    pulled_at: float = 0.0
    ack_wait: float = 10.0

    async def in_progress(self) -> None:
        """See ``Job``."""
        self.log.append("in_progress")

    async def ack(self) -> None:
        """See ``Job``."""
        self.log.append("ack")

    async def give_back(self, *, delay: float = 0.0) -> None:
        """See ``Job``."""
        self.log.append("give_back")

    async def drop(self) -> None:
        """See ``Job``."""
        self.log.append("drop")
