"""One completion between real writers and a real reader, over a broker that loses what it likes.

Writers are the worker's own ``Answer``, ``claim`` and ``Ending``; the reader is the gateway's own
``Relay``. In between a frame may be stored, delivered, both or neither, in any order and twice.
Nothing here waits: coroutines are driven to their end by hand.
"""

import re
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.api.ports.mailbox import Mailbox
from services.api.streams.cursor import Cursor
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import Numbering
from services.api.streams.relay import Relay
from services.api.streams.sse import ChunkEncoder
from services.inference_worker.answer import Answer
from services.inference_worker.claiming import claim
from services.inference_worker.ending import Ending
from services.inference_worker.outcome import completed_event, finished
from services.inference_worker.ports import Finish, Text
from services.inference_worker.sse import ChunkTemplate, deltas
from services.inference_worker.takeover import Claim
from services.inference_worker.transcript import Said
from shared.contracts.chat import CompletionStatus, Timings
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId
from shared.errors import FramesGone, WorkerLost
from tests.fakes.api.ports import FakeJournal, SetClock
from tests.fakes.inference_worker.broker import FakeJob
from tests.fakes.inference_worker.requests import ID, NOON, request

_T = TypeVar("_T")
_ID_LINE = re.compile(rb"^id: .*\n", re.MULTILINE)


def drive(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never really waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise AssertionError("it waits for something")


@dataclass
class LossyBroker:
    """``Frames``, ``Ledger`` and ``FrameLog``; ``stores`` and ``delivers`` say what comes of it."""

    journal: FakeJournal
    stores: bool = True
    delivers: bool = True
    log: list[tuple[int, Frame]] = field(default_factory=list)
    under_way: list[Frame] = field(default_factory=list)
    room: int = 10_000
    seconds_spent: float = 0.0
    _sequence: int = 0

    async def send(self, subject: str, frame: Frame) -> None:
        """See ``Frames``."""
        self._publish(frame)

    async def take_over(self, subject: str, frame: Frame) -> int:
        """See ``Ledger``: it is stored, or else there is no takeover."""
        stores, self.stores = self.stores, True
        self._publish(frame)
        self.stores = stores
        return self._sequence

    def _publish(self, frame: Frame) -> None:
        self._sequence += 1
        if self.stores:
            self.log.append((self._sequence, frame))
        if self.delivers:
            self.under_way.append(frame)

    async def frames(
        self, completion_id: CompletionId, after: int, up_to: int | None = None
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """See ``Ledger``."""
        for sequence, frame in list(self.log):
            if sequence > after and (up_to is None or sequence <= up_to):
                yield sequence, frame

    async def replay(
        self, completion_id: CompletionId, start: int
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """See ``FrameLog``."""
        async for entry in self.frames(completion_id, start - 1):
            yield entry

    async def complete(self, completion_id: CompletionId, payload: bytes) -> bytes:
        """See ``Ledger``."""
        event = CompletionCompleted.from_bytes(payload)
        return self.journal.ends.setdefault(completion_id, event).to_bytes()

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """See ``Ledger``."""
        return self.journal.ends.get(completion_id)

    async def cancelled(self, completion_id: CompletionId) -> bool:
        """See ``Ledger``."""
        return False

    async def spent(self, subject: str) -> float:
        """See ``Ledger``."""
        return self.seconds_spent

    async def bury(self, data: bytes, reason: str) -> None:
        """See ``Ledger``."""
        raise AssertionError(reason)


class Writer:
    """A worker's hand on the answer."""

    def __init__(self, broker: LossyBroker, claimed: Claim) -> None:
        self._broker = broker
        self.attempt, self.count = claimed.attempt, claimed.count
        self.done = False
        self.job = FakeJob(request().to_bytes(), [])
        template = ChunkTemplate(ID, NOON, "demo", include_usage=False)
        self.answer = Answer(
            broker, request().reply_subject, template, attempt=claimed.attempt, limit=2**20,
            begun=claimed.said,
        )  # fmt: skip
        if claimed.attempt > 1:
            drive(self.answer.go_on(claimed.digest))
        drive(self.answer.heartbeat())

    def say(self, words: Sequence[str]) -> None:
        """Send words of an answer of this writer's own."""
        assert not self.done
        drive(self.answer.add([Text(word) for word in words]))

    def end(self) -> bool:
        """End it, unless somebody else has taken over by now."""
        self.done = True
        drive(self.answer.open())
        event = completed_event(
            request(),
            finished(Finish("stop", 1, 1)),
            self.answer.said(),
            attempt=self.attempt,
            attempts=self.count,
            timings=Timings(),
            now=lambda: NOON,
        )
        ending = Ending(self._broker, self._broker)
        subject = request().reply_subject
        return drive(ending.write(self.job, subject, event, lapsed=lambda: True))


class LossyStream:
    """The broker, its writers and one reader; ``got`` is the text that the reader passed on."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.journal = FakeJournal()
        self.broker = LossyBroker(self.journal)
        self.mailbox = Mailbox(2**20, clock=self.clock.monotonic)
        encode = ChunkEncoder(ID, "demo", NOON, include_usage=False).missing
        self.relay = self._relay(Delivery(encode, None), late=False)
        self.writers = [Writer(self.broker, Claim(1))]
        self.got = ""
        self._after = -1
        self.openings = 0
        self.end: CompletionCompleted | None = None
        self.lost = False

    @property
    def over(self) -> bool:
        """Whether the reader has come to an end, good or bad."""
        return self.lost or self.end is not None

    def take_over(self) -> None:
        """Another worker goes on; the one before it does not know."""
        job = FakeJob(request().to_bytes(), [], deliveries=len(self.writers) + 1)
        claimed = drive(claim(self.broker, job, request()))
        assert claimed is not None
        self.writers.append(Writer(self.broker, claimed))

    def deliver(self, position: int, *, keep: bool) -> None:
        """Hand a frame that is under way to the reader; ``keep`` makes it come again."""
        frames = self.broker.under_way
        self.mailbox.put(frames[position] if keep else frames.pop(position))

    def resend(self) -> None:
        """The reader asks for what it lacks: whoever hears it sends a snapshot."""
        for writer in self.writers:
            if not writer.done:
                drive(writer.answer.resend())

    def come_back(self) -> None:
        """The reader's connection breaks, and it resumes after the last event that it has."""
        self._after = after = max(self._after, self.relay.position - 1)
        self.broker.under_way.clear()
        self.mailbox = Mailbox(2**20, clock=self.clock.monotonic)
        encode = ChunkEncoder(ID, "demo", NOON, include_usage=False).missing
        dress = Numbering(ID, after).dress
        self.relay = self._relay(Delivery(encode, dress, Cursor(ID, after)), late=True)

    def _relay(self, delivery: Delivery, *, late: bool) -> Relay:
        return Relay(
            ID,
            self.mailbox,
            delivery,
            frames=self.broker,
            journal=self.journal,
            clock=self.clock,
            resend=lambda _after: self.resend(),
            silence=6,
            batch=2**20,
            late=late,
        )

    def read(self) -> None:
        """Let the reader pass on what it can."""
        if self.over:
            return
        try:
            step = drive(self.relay.step())
        except (WorkerLost, FramesGone):
            self.lost = True
            return
        for delta in deltas(_ID_LINE.sub(b"", step.data)):
            self.openings += delta.get("role") == "assistant"
            self.got += delta.get("content") or ""
        self.end = step.end

    def read_to_the_end(self) -> None:
        """Let time pass until the reader has an end."""
        for _ in range(50):
            self.read()
            if self.over:
                return
            self.clock.time += 7
        message = f"the reader sees no end; it has got {self.got!r}"
        raise AssertionError(message)

    @property
    def said(self) -> Said:
        """The truth, once it is recorded."""
        end = self.journal.ends[ID]
        assert end.status is CompletionStatus.COMPLETED
        return Said(end.text, end.thinking, tuple(end.tool_calls), 0, end.events)
