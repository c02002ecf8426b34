"""What has become of a completion that somebody else has worked on: pure, from its frames."""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from services.inference_worker.sse import deltas
from services.inference_worker.transcript import Said
from shared.contracts.chat import FunctionCall, ToolCall
from shared.contracts.frames import HANDED_OVER, Frame, FrameKind, PartialDigest

MAX_ATTEMPTS: Final = 3
_OF_AN_ENGINE: Final = frozenset({FrameKind.HEARTBEAT, FrameKind.TOKENS, FrameKind.SNAPSHOT})
"""The first heartbeat says that an engine is asked; it may be lost, and the rest not."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt at a completion, and what it starts from."""

    attempt: int
    """Marks its frames, so no two workers may ever have the same, whatever the broker has lost."""
    count: int = 1
    """How many workers have run it, this one included unless it only ends it."""
    said: Said = field(default_factory=Said)
    """What earlier attempts have sent."""
    digest: bytes = b""
    """The ``PartialDigest`` of that, where it is known."""
    continued_at: tuple[int, ...] = ()
    """Where earlier attempts went on."""
    spent: float = 0.0
    """Seconds that earlier attempts have had of the generating deadline."""
    failed: int = 0
    """How many of the earlier attempts asked an engine and did not end in order.

    A worker that was stopped is none of them, nor one that the broker left in the takeover.
    """

    def anew(self) -> "Claim":
        """The same attempt at the whole answer: what was sent does not exist."""
        return replace(self, said=Said(), digest=PartialDigest().value(), continued_at=())

    @property
    def last(self) -> bool:
        """Whether no other attempt follows this one, if it fails."""
        return self.failed + 1 >= MAX_ATTEMPTS

    @property
    def exhausted(self) -> bool:
        """Whether there have been enough of them: this one only ends the completion."""
        return self.failed >= MAX_ATTEMPTS


FIRST: Final = Claim(1)
"""Nobody has worked on it."""


@dataclass(slots=True)
class _PartialCall:
    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Past:
    """What earlier attempts have sent, read frame by frame in stored order."""

    attempt: int = 0
    """The newest attempt that has been heard of; 0 for none."""
    next_index: int = 0
    tokens: int = 0
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] = field(default_factory=list)
    _calls: dict[int, _PartialCall] = field(default_factory=dict)
    _digest: PartialDigest = field(default_factory=PartialDigest)
    _continued_at: list[int] = field(default_factory=list)
    _at_engine: set[int] = field(default_factory=set)
    _handed_over: set[int] = field(default_factory=set)

    def add(self, frame: Frame) -> None:
        """Take the next frame in.

        A frame of an attempt that was taken over does not exist, and what follows a gap was not
        relayed by anybody, until a snapshot heals it.
        """
        if frame.attempt < self.attempt:
            return
        self.attempt = frame.attempt
        if frame.kind in _OF_AN_ENGINE:
            self._at_engine.add(frame.attempt)
        if frame.kind is FrameKind.SNAPSHOT and frame.first > self.next_index:
            self._restore(frame)
        elif frame.kind is FrameKind.FROM and frame.first:
            self._continued_at.append(frame.first)
        elif frame.kind is FrameKind.HEARTBEAT and frame.body == HANDED_OVER:
            self._handed_over.add(frame.attempt)
        elif frame.kind is FrameKind.TOKENS and frame.first == self.next_index:
            self.next_index = frame.next_index
            self.tokens = frame.tokens
            self._digest.update(frame.body)
            for delta in deltas(frame.body):
                self._take(delta)

    def claim(self, attempt: int) -> Claim:
        """What the attempt that comes next starts from.

        Args:
            attempt: What marks its frames.
        """
        # One that ended before its first word went on nowhere.
        places = sorted({place for place in self._continued_at if place < self.next_index})
        failed = len(self._at_engine - self._handed_over)
        return Claim(
            attempt,
            len(self._at_engine) + (failed < MAX_ATTEMPTS),
            self.partial(),
            self._digest.value(),
            tuple(places),
            failed=failed,
        )

    def partial(self) -> Said:
        """The answer as far as it went out."""
        calls = (
            ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
            for _, call in sorted(self._calls.items())
        )
        text, thinking = "".join(self._text), "".join(self._thinking)
        return Said(text, thinking, tuple(calls), self.tokens, self.next_index)

    def _restore(self, frame: Frame) -> None:
        body: dict[str, Any] = orjson.loads(frame.body)
        self._text, self._thinking = [body["text"]], [body["thinking"]]
        self._calls = {
            index: _PartialCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for index, call in enumerate(body["tool_calls"])
        }
        self.next_index, self.tokens = frame.first, frame.tokens
        self._digest.forget()

    def _take(self, delta: dict[str, Any]) -> None:
        self._text.append(delta.get("content") or "")
        self._thinking.append(delta.get("reasoning_content") or "")
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "id" in call:
                self._calls[call["index"]] = _PartialCall(call["id"], function["name"])
            self._calls[call["index"]].arguments += function["arguments"]
