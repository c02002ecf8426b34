"""What a model has said so far, within a bound."""

from dataclasses import dataclass
from typing import Final

from services.inference_worker.ports import Call, Part, Text, Thinking
from shared.contracts.chat import FunctionCall, ToolCall

ANSWER_LIMIT: Final = 2**20
_EXPANSION: Final = 8
_CALL: Final = 128
"""Bytes of JSON around a call: many calls without arguments must not outgrow the event."""


def answer_limit(max_payload: int) -> int:
    """How many bytes of text an answer may have: 1 MiB, less where the broker carries less.

    JSON can make six bytes of one, and the whole answer must fit into one ``completed`` event.
    """
    return min(ANSWER_LIMIT, max_payload // _EXPANSION)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, or as much of it as there is; ``tokens`` as far as they were counted."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: int = 0
    events: int = 0
    """How many SSE events it was sent as."""


class Transcript:
    """Collects the parts of one answer; ``full`` once something did not fit any more."""

    def __init__(self, limit: int = ANSWER_LIMIT, said: Said | None = None) -> None:
        """Go on from what was said before, if anything was."""
        so_far = said or Said()
        self._left = max(0, limit - _size(so_far))
        self._text: list[str] = [so_far.text]
        self._thinking: list[str] = [so_far.thinking]
        self.tool_calls: list[ToolCall] = list(so_far.tool_calls)
        self.full = False

    def take(self, part: Part) -> Part | None:
        """Add a part; gives as much of it as fits, ``None`` for nothing."""
        if self.full:
            return None
        match part:
            case Text():
                part = Text(self._fitting(part.text))
                self._text.append(part.text)
                return part if part.text else None
            case Thinking():
                part = Thinking(self._fitting(part.text))
                self._thinking.append(part.text)
                return part if part.text else None
            case Call():
                return part if self._fits(part) else None

    def called(self, call_id: str, call: Call) -> int:
        """Note a call under its id; gives its index."""
        function = FunctionCall(name=call.name, arguments=call.arguments)
        self.tool_calls.append(ToolCall(id=call_id, function=function))
        return len(self.tool_calls) - 1

    def said(self, *, tokens: int, events: int) -> Said:
        """Everything so far."""
        return Said(
            "".join(self._text),
            "".join(self._thinking),
            tuple(self.tool_calls),
            tokens,
            events,
        )

    def _fitting(self, text: str) -> str:
        size = len(text) if text.isascii() else len(text.encode())
        if size <= self._left:
            self._left -= size
            return text
        self.full = True
        # Half a character is dropped, not replaced.
        return text.encode()[: self._left].decode(errors="ignore")

    def _fits(self, call: Call) -> bool:
        # Arguments cut in the middle are no JSON: a call is taken whole or not at all.
        size = _size_of_call(call.name, call.arguments)
        self.full = size > self._left
        self._left -= size
        return not self.full


def _size(said: Said) -> int:
    calls = (call.function for call in said.tool_calls)
    return (
        len(said.text.encode())
        + len(said.thinking.encode())
        + sum(_size_of_call(call.name, call.arguments) for call in calls)
    )


def _size_of_call(name: str, arguments: str) -> int:
    return _CALL + len(name.encode()) + len(arguments.encode())
