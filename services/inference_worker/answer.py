"""An answer on its way out: parts become SSE events, events frames, with indices without gaps."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import orjson
import uuid_utils

from services.inference_worker.ports import Call, Frames, Part, Text
from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.transcript import Said, Transcript
from shared.contracts.frames import HANDED_OVER, Frame, FrameKind

_SNAPSHOT_CHARACTERS: Final = 64 * 2**10
_SNAPSHOT_SECONDS: Final = 30.0
_RESEND_SECONDS: Final = 0.5
"""However many readers ask, each for itself: all of them hear the same snapshot."""


def new_call_id() -> str:
    """A fresh id for a tool call."""
    return f"call_{uuid_utils.uuid7().hex}"


class Answer:
    """One attempt at an answer; ``said()`` is what has been sent of it."""

    def __init__(
        self,
        frames: Frames,
        subject: str,
        template: ChunkTemplate,
        *,
        attempt: int,
        limit: int,
        begun: Said | None = None,
        call_id: Callable[[], str] = new_call_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before the first part.

        Args:
            frames: The way out.
            subject: Where the frames go.
            template: Makes the events.
            attempt: Which attempt at this completion it is, from 1.
            limit: The most bytes of text it may have in all parts.
            begun: What earlier attempts have sent of it.
            call_id: Makes the ids of tool calls.
            clock: Monotonic seconds.
        """
        self._frames = frames
        self._subject = subject
        self._template = template
        self._call_id = call_id
        self._clock = clock
        so_far = begun or Said()
        self._transcript = Transcript(limit, so_far)
        self._unsent: list[bytes] = []
        self._text_length = len(so_far.text)
        self._thinking_length = len(so_far.thinking)
        self._snapshot_length = self._text_length + self._thinking_length
        self._snapshot_at = clock()
        self._resent_at = -math.inf
        self._opened = so_far.events > 0
        self._adding = False
        self.attempt = attempt
        self.omitted: int | None = None
        """How many messages of its session the model was not shown."""
        self.tokens = so_far.tokens
        self.next_index = so_far.events
        self.continued_at: list[int] = []
        """Where it went on after it had broken off."""
        self.first_token_at: float | None = None

    @property
    def started(self) -> bool:
        """Whether the reader has got anything of it."""
        return self.next_index > 0

    @property
    def full(self) -> bool:
        """Whether it has reached its bound and must end here."""
        return self._transcript.full

    def said(self) -> Said:
        """What it says so far."""
        return self._transcript.said(tokens=self.tokens, events=self.next_index)

    async def add(self, parts: Sequence[Part]) -> None:
        """Send what one read of the engine held as one frame, or more if the broker's limit asks.

        What does not fit into the answer's bound is left out; then ``full``.
        """
        self._adding = True
        size = 0
        room = self._frames.room
        for part in parts:
            kept = self._transcript.take(part)
            if kept is None:
                break
            for event in self._events(kept):
                if self._unsent and size + len(event) > room:
                    await self._flush()
                    size = 0
                self._unsent.append(event)
                size += len(event)
            self.tokens += 1
            self._measure(kept)
        await self._flush()
        await self._snapshot_if_due()
        self._adding = False

    async def open(self) -> None:
        """Make sure that the reader has the event that opens every answer."""
        if not self._opened:
            self._opened = True
            self._unsent.append(self._template.role())
            await self._flush()

    async def go_on(self, digest: bytes = b"") -> None:
        """Tell readers from where it goes on.

        Args:
            digest: The ``PartialDigest`` of everything before, where it is known.
        """
        if self.next_index and self.next_index not in self.continued_at:
            self.continued_at.append(self.next_index)
        await self._send(FrameKind.FROM, digest)

    async def heartbeat(self) -> None:
        """Say that somebody works on it."""
        await self._send(FrameKind.HEARTBEAT)

    async def hand_over(self) -> None:
        """Say that this worker stops in order, which is no failure of its attempt."""
        await self._send(FrameKind.HEARTBEAT, HANDED_OVER)

    def _events(self, part: Part) -> Sequence[bytes]:
        if self.first_token_at is None:
            self.first_token_at = self._clock()
        if not self._opened:
            self._opened = True
            # The role rides with the first token: one frame, and the gateway's headers wait for it.
            self._unsent.append(self._template.role())
        if isinstance(part, Text):
            return (self._template.text(part.text),)
        if isinstance(part, Call):
            call_id = self._call_id()
            index = self._transcript.called(call_id, part)
            return self._template.call(index, call_id, part.name, part.arguments)
        return (self._template.thinking(part.text),)

    def _measure(self, part: Part) -> None:
        if isinstance(part, Text):
            self._text_length += len(part.text)
        elif not isinstance(part, Call):
            self._thinking_length += len(part.text)

    async def _flush(self) -> None:
        if not self._unsent:
            return
        body, events = b"".join(self._unsent), len(self._unsent)
        self._unsent.clear()
        frame = self._frame(FrameKind.TOKENS, body, events)
        self.next_index += events
        await self._frames.send(self._subject, frame)

    async def _snapshot_if_due(self) -> None:
        length = self._text_length + self._thinking_length
        new = length - self._snapshot_length
        now = self._clock()
        late = now - self._snapshot_at >= _SNAPSHOT_SECONDS
        if new < _SNAPSHOT_CHARACTERS and not (late and new):
            return
        self._snapshot_length, self._snapshot_at = length, now
        await self._snapshot()

    async def resend(self) -> None:
        """Send everything so far, for readers who have lost a part of it.

        Not between the frames of one batch, where more is known than was sent: they ask again.
        """
        now = self._clock()
        if self.started and not self._adding and now - self._resent_at >= _RESEND_SECONDS:
            self._resent_at = now
            await self._snapshot()

    async def _snapshot(self) -> None:
        said = self.said()
        body = {
            "text": said.text,
            "thinking": said.thinking,
            "tool_calls": [call.model_dump() for call in said.tool_calls],
        }
        await self._send(FrameKind.SNAPSHOT, orjson.dumps(body))

    async def _send(self, kind: FrameKind, body: bytes = b"") -> None:
        await self._frames.send(self._subject, self._frame(kind, body))

    def _frame(self, kind: FrameKind, body: bytes, events: int = 0) -> Frame:
        return Frame(
            kind,
            self.attempt,
            self.next_index,
            events,
            self.tokens,
            self._text_length,
            self._thinking_length,
            body,
        )
