"""What to do with a completion that somebody else has worked on: pure, from its stored frames.

A worker that continues or replays a half-sent answer adds its decision here.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.inference_worker.sse import deltas
from services.inference_worker.transcript import Said
from shared.contracts.chat import FunctionCall, ToolCall
from shared.contracts.frames import Frame, FrameKind

MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Nothing was sent: the reader only sees a later first token."""

    attempt: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End it honestly, with what was sent of it."""

    attempt: int
    partial: Said
    reason: str


Decision = RunAgain | GiveUp


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
    _text: str = ""
    _thinking: str = ""
    _calls: dict[int, _PartialCall] = field(default_factory=dict)

    def add(self, frame: Frame) -> None:
        """Take the next frame in.

        A frame of an attempt that was taken over does not exist, and what follows a gap was not
        relayed by anybody, until a snapshot heals it.
        """
        if frame.attempt < self.attempt:
            return
        self.attempt = frame.attempt
        if frame.kind is FrameKind.SNAPSHOT:
            self._restore(frame)
        elif frame.kind is FrameKind.TOKENS and frame.first == self.next_index:
            self.next_index = frame.next_index
            self.tokens = frame.tokens
            for delta in deltas(frame.body):
                self._take(delta)

    def partial(self) -> Said:
        """The answer as far as it went out."""
        calls = (
            ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
            for _, call in sorted(self._calls.items())
        )
        return Said(self._text, self._thinking, tuple(calls), self.tokens, self.next_index)

    def _restore(self, frame: Frame) -> None:
        body: dict[str, Any] = orjson.loads(frame.body)
        self._text, self._thinking = body["text"], body["thinking"]
        self._calls = {
            index: _PartialCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for index, call in enumerate(body["tool_calls"])
        }
        self.next_index, self.tokens = frame.first, frame.tokens

    def _take(self, delta: dict[str, Any]) -> None:
        self._text += delta.get("content") or ""
        self._thinking += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "id" in call:
                self._calls[call["index"]] = _PartialCall(call["id"], function["name"])
            self._calls[call["index"]].arguments += function["arguments"]


def decide(past: Past) -> Decision:
    """What the worker that comes next does; its attempt is one more than the newest so far."""
    attempt = past.attempt + 1
    if past.next_index:
        return GiveUp(attempt, past.partial(), "the worker vanished in the middle of the answer")
    if attempt > MAX_ATTEMPTS:
        return GiveUp(attempt, Said(), f"{MAX_ATTEMPTS} attempts ended without an answer")
    return RunAgain(attempt)
