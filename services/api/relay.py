"""Relay the frames of one answer: bytes in order, gaps repaired, never passed.

The common case is a loop over heads; everything else is repair. What a frame has lost comes from
the log (``CHAT_CHUNKS``), else from a snapshot, else from the ``completed`` event, which is the
truth and holds the whole text.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

import structlog
from pydantic import ValidationError

from services.api.mailbox import Mailbox
from services.api.ports import Clock, FrameLog, Journal
from services.api.sequencer import Sequencer, Verdict
from services.api.snapshots import read_snapshot
from services.api.steps import Missing, Step
from shared.contracts.chat import CompletionStatus, ToolCall
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable, WorkerLost

log = structlog.stdlib.get_logger(__name__)

_TOOL_CALLS: Final = b'"tool_calls":['
_RETRY: Final = 1.0
_RETRY_END: Final = 0.1


class Relay:
    """One reader of one answer."""

    def __init__(
        self,
        completion_id: CompletionId,
        mailbox: Mailbox,
        *,
        frames: FrameLog,
        journal: Journal,
        clock: Clock,
        encode: Callable[[Missing], bytes],
        silence: float,
        batch: int,
    ) -> None:
        """Read from the first event on.

        Args:
            completion_id: Whose answer.
            mailbox: Where its frames arrive.
            frames: The log of frames.
            journal: Where its end is recorded.
            clock: For silence and retries.
            encode: Makes an ordinary delta of what frames have lost.
            silence: Seconds without a frame after which the journal is asked.
            batch: Bytes that one repair may hold in memory.
        """
        self._id, self._mailbox = completion_id, mailbox
        self._frames, self._journal = frames, journal
        self._clock = clock
        self._encode = encode
        self._silence = silence
        self._batch = batch
        self._sequencer = Sequencer()
        self._tools_begun = False
        self._end: CompletionCompleted | None = None
        self._failure: WorkerLost | None = None
        self._suspicious = False
        self._behind = False
        self._log_position = 1
        self._log_attempt = 0
        self._checked = clock.monotonic()
        self._retry_at = 0.0

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
        for frame in self._mailbox.take():
            body = self._accept(frame)
            if body:
                data.append(body)
        now = self._clock.monotonic()
        if self._mailbox.overflowed:
            self._mailbox.overflowed = False
            self._behind = True
        silent = now >= max(self._mailbox.last_heard, self._checked) + self._silence
        if not self._complete and (silent or (self._needs_repair() and now >= self._retry_at)):
            await self._repair(data, now)

    @property
    def _complete(self) -> bool:
        return self._end is not None and not self._behind

    def _needs_repair(self) -> bool:
        return self._suspicious or self._behind or self._sequencer.in_gap

    def _accept(self, frame: Frame) -> bytes | None:
        verdict = self._sequencer.judge(frame)
        if verdict is Verdict.DELIVER:
            if not self._tools_begun and _TOOL_CALLS in frame.body:
                self._tools_begun = True
            return frame.body
        if verdict is Verdict.BRIDGE:
            return self._bridge(frame)
        if verdict is Verdict.DIVERGED:
            raise _lost()
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
        self._behind = end.status is CompletionStatus.COMPLETED and self._lacks(end)
        self._retry_at = 0.0

    def _lacks(self, end: CompletionCompleted) -> bool:
        if end.events and self._sequencer.next_index > end.events:
            raise _lost()
        # Without any event the opening delta is still owed.
        return self._sequencer.missing(end.events) or self._sequencer.next_index == 0

    def _bridge(self, frame: Frame) -> bytes | None:
        snapshot = None if self._tools_begun else read_snapshot(frame.body)
        if snapshot is None:
            return None
        delta = self._delta(snapshot.text, snapshot.thinking, [])
        self._sequencer.jump(frame)
        return delta

    def _delta(self, text: str, thinking: str, tool_calls: Sequence[ToolCall]) -> bytes:
        missing = Missing(
            text[self._sequencer.text_length :],
            thinking[self._sequencer.thinking_length :],
            tool_calls,
            opening=self._sequencer.next_index == 0,
        )
        return self._encode(missing)

    async def _repair(self, data: list[bytes], now: float) -> None:
        # What has been gathered in ``data`` is kept when the broker goes away halfway.
        self._checked = now
        self._retry_at = now + _RETRY
        try:
            more = await self._read_log(data)
            if more:
                self._behind, self._retry_at = True, 0.0
                return
            self._behind = self._end is not None and self._lacks(self._end)
            await self._consult_journal(data)
            self._suspicious = False
        except BrokerUnavailable:
            log.debug("repair_postponed", completion_id=self._id)

    async def _read_log(self, data: list[bytes]) -> bool:
        """Relay what the log has and the reader lacks; true if there is more than one batch."""
        if not (self._behind or self._suspicious or self._sequencer.in_gap):
            return False
        reader = self._sequencer.rewound()
        reader.attempt = self._log_attempt
        size, hole = 0, 0
        async with aclosing(self._frames.replay(self._id, self._log_position)) as frames:
            async for position, frame in frames:
                verdict = reader.judge(frame)
                self._log_position, self._log_attempt = position + 1, reader.attempt
                if verdict is Verdict.DIVERGED:
                    raise _lost()
                if verdict is Verdict.GAP:
                    hole = hole or position
                    continue
                body = self._from_log(frame, verdict, reader)
                if body:
                    data.append(body)
                    size, hole = size + len(body), 0
                if size > self._batch:
                    return True
        if hole:
            # The log itself lacks something: look again from here, a late frame may fill it.
            self._log_position = hole
        return False

    def _from_log(self, frame: Frame, verdict: Verdict, reader: Sequencer) -> bytes | None:
        if verdict is Verdict.DELIVER:
            self._sequencer.adopt(reader)
            self._tools_begun = self._tools_begun or _TOOL_CALLS in frame.body
            return frame.body
        if verdict is Verdict.BRIDGE:
            delta = self._bridge(frame)
            if delta is not None:
                reader.jump(frame)
            return delta
        if verdict is Verdict.END and self._end is None:
            self._take_end(frame)
        return None

    async def _consult_journal(self, data: list[bytes]) -> None:
        if self._complete:
            return
        whole = await self._journal.completed(self._id)
        if whole is None:
            if self._end is not None:
                self._retry_at = self._clock.monotonic() + _RETRY_END
            return
        if whole.status is CompletionStatus.COMPLETED and self._lacks(whole):
            if self._tools_begun:
                raise _lost()
            data.append(self._delta(whole.text, whole.thinking, whole.tool_calls))
        self._end, self._behind = whole, False


def _lost() -> WorkerLost:
    message = "The worker was lost and the answer cannot be continued; send the request again."
    return WorkerLost(message)
