"""Relay the frames of one answer: bytes in order, gaps repaired, never passed.

The common case is a loop over heads. The rest is repair: from the log (``CHAT_CHUNKS``), else by a
snapshot that the worker is asked for, else from ``completed``, the truth with the whole text.
"""

from collections.abc import Callable
from contextlib import aclosing

import structlog
from pydantic import ValidationError

from services.api.ports.broker import Clock, FrameLog, Journal
from services.api.ports.mailbox import Mailbox
from services.api.streams.delivery import Delivery, lost
from services.api.streams.log_reading import LogReading
from services.api.streams.sequencer import Sequencer, Verdict
from services.api.streams.steps import Step
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable, WorkerLost

log = structlog.stdlib.get_logger(__name__)

_RETRY, _RETRY_END, _RETRY_LATE = 1.0, 0.1, 0.05


class Relay:
    """One reader of one answer."""

    def __init__(
        self,
        completion_id: CompletionId,
        mailbox: Mailbox,
        delivery: Delivery,
        *,
        frames: FrameLog,
        journal: Journal,
        clock: Clock,
        resend: Callable[[int], None],
        silence: float,
        batch: int,
        late: bool = False,
    ) -> None:
        """Read from the first event on.

        Args:
            completion_id: Whose answer.
            mailbox: Where its frames arrive.
            delivery: What the reader is given.
            frames: The log of frames.
            journal: Where its end is recorded.
            clock: For silence and retries.
            resend: Asks the worker, without waiting, for what follows an index.
            silence: Seconds without a frame after which log and journal are asked.
            batch: Bytes that one repair may hold in memory.
            late: It began before the mailbox was there: read the log first, then the mailbox.
        """
        self._id, self._mailbox = completion_id, mailbox
        self._delivery, self._sequencer = delivery, delivery.sequencer
        self._log, self._journal = LogReading(completion_id, frames), journal
        self._clock = clock
        self._resend = resend
        self._silence = silence
        self._batch = batch
        self._end: CompletionCompleted | None = None
        self._failure: WorkerLost | None = None
        self._late = self._suspicious = late
        self._behind = False
        self._checked = clock.monotonic()
        self._retry_at = 0.0

    @property
    def caught_up(self) -> bool:
        """Whether all that the log held at the beginning has been relayed."""
        return not self._late

    @property
    def position(self) -> int:
        """The index that comes next."""
        return self._sequencer.next_index

    def alarm(self) -> None:
        """Frames may have been lost: look as soon as possible."""
        self._suspicious = True
        self._retry_at = 0.0
        self._mailbox.wake()

    def due(self) -> float:
        """When to look again if no frame comes."""
        if self._needs_repair():
            return self._retry_at
        return max(self._mailbox.last_heard, self._checked) + self._silence

    async def step(self) -> Step:
        """Everything that can be relayed now; waits only for repairs.

        Raises:
            WorkerLost: what was relayed cannot be continued.
        """
        if self._failure is not None:
            raise self._failure
        data: list[bytes] = []
        try:
            await self._gather(data)
        except WorkerLost as error:
            if not data:
                raise
            # What came before it goes out first.
            self._failure = error
            return Step(b"".join(data), None)
        return Step(b"".join(data), self._end if self._complete else None)

    async def _gather(self, data: list[bytes]) -> None:
        now = self._clock.monotonic()
        if self._late and now >= self._retry_at:
            await self._repair(data, now)
            if self._complete:
                return  # It has all of it: what the mailbox holds was given already.
        if self._late:
            # What the mailbox holds follows what the log holds: it must wait for that.
            return
        for frame in self._mailbox.take():
            body = self._accept(frame)
            if body:
                data.append(body)
        if self._mailbox.overflowed:
            self._mailbox.overflowed = False
            self._behind = True
        silent = now >= max(self._mailbox.last_heard, self._checked) + self._silence
        if not self._complete and (silent or (self._needs_repair() and now >= self._retry_at)):
            self._suspicious = self._suspicious or silent
            await self._repair(data, now)

    @property
    def _complete(self) -> bool:
        return self._end is not None and not self._behind

    def _needs_repair(self) -> bool:
        return self._suspicious or self._behind or self._sequencer.in_gap

    def _accept(self, frame: Frame) -> bytes | None:
        if self._complete:
            return None  # a worker that was overtaken may still talk
        verdict = self._sequencer.judge(frame)
        if verdict is Verdict.DELIVER:
            return self._delivery.give(frame)
        if verdict is Verdict.BRIDGE:
            return self._delivery.bridge(frame)
        self._delivery.withhold(frame, verdict)
        if verdict is Verdict.SEAM:
            self._delivery.check_seam(frame)
        if verdict is Verdict.DIVERGED:
            raise lost()
        if verdict is Verdict.END:
            self._take_end(frame)
        return None

    def _take_end(self, frame: Frame) -> None:
        try:
            end = CompletionCompleted.from_bytes(frame.body)
        except ValidationError:
            log.warning("end_frame_malformed", completion_id=self._id)
            self._suspicious = True
            return
        self._end = end
        self._behind = self._owes(end)
        self._retry_at = 0.0

    def _owes(self, end: CompletionCompleted) -> bool:
        # Of a bad end only what came before it counts; who finds nothing at all gets that whole.
        if end.status is CompletionStatus.COMPLETED:
            return self._delivery.lacks(end)
        return self._late and self.position == 0 and end.events > 0

    async def _repair(self, data: list[bytes], now: float) -> None:
        # What has been gathered in ``data`` is kept when the broker goes away halfway.
        self._checked = now
        self._retry_at = now + _RETRY
        try:
            if self._needs_repair() and await self._read_log(data):
                self._behind, self._retry_at = True, 0.0
                return
            self._behind = self._end is not None and self._owes(self._end)
            if await self._consult_journal(data):
                # The rest may have come since the log was read: frames first, as they were said.
                self._behind, self._retry_at = True, 0.0
                await self._gather(data)
                return
            if self._late:
                # The log is asked a moment after the subscription: a straggler may be missing.
                self._late, self._retry_at = False, now + _RETRY_LATE
            self._suspicious = False
        except BrokerUnavailable:
            log.debug("repair_postponed", completion_id=self._id)

    async def _read_log(self, data: list[bytes]) -> bool:
        """Relay what the log has and the reader lacks; true if there is more than one batch."""
        reader, size = self._sequencer.rewound(), 0
        async with aclosing(self._log.on(reader)) as frames:
            async for frame, verdict in frames:
                body = self._from_log(frame, verdict, reader)
                if body is not None:
                    data.append(body)
                    size += len(body)
                if size > self._batch:
                    return True
        return False

    def _from_log(self, frame: Frame, verdict: Verdict, reader: Sequencer) -> bytes | None:
        if verdict is Verdict.DIVERGED:
            raise lost()
        if verdict is Verdict.DELIVER:
            self._sequencer.adopt(reader)
            return self._delivery.give(frame)
        self._delivery.withhold(frame, verdict)
        if verdict is Verdict.SEAM:
            self._sequencer.adopt(reader)
            self._delivery.check_seam(frame)
        if verdict is Verdict.BRIDGE:
            delta = self._delivery.bridge(frame)
            if delta is not None:
                reader.jump(frame)
            return delta
        if verdict is Verdict.END and self._end is None:
            self._take_end(frame)
        return None

    async def _consult_journal(self, data: list[bytes]) -> bool:
        """Take what is missing from ``completed``; true if the end was not known before."""
        if self._complete:
            return False
        whole = await self._journal.completed(self._id)
        if whole is None:
            if self._end is not None:
                self._retry_at = self._clock.monotonic() + _RETRY_END
            elif self._sequencer.in_gap and self._delivery.bridgeable:
                self._resend(self._sequencer.next_index - 1)
            return False
        if self._end is None:
            self._end = whole
            return True
        if self._owes(whole):
            data.append(self._delivery.rest_of(whole))
        self._end, self._behind = whole, False
        return False
