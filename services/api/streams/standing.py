"""How a completion stands: pure, from its two facts and its stored frames.

accepted → queued → running → completed | failed | cancelled | expired; or rejected at once.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import orjson

from services.api.streams.sequencer import Sequencer, Verdict
from shared.contracts.chat import FunctionCall, ToolCall
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind

Status = Literal["queued", "running", "completed", "failed", "cancelled", "expired", "rejected"]

_DATA: Final = b"data: "


class Standing(NamedTuple):
    """Where it is, and its answer so far."""

    status: Status
    text: str
    thinking: str
    tool_calls: list[ToolCall]
    attempts: int
    end: CompletionCompleted | None


class SoFar:
    """The answer that frames tell of, read one by one in the order of the log."""

    def __init__(self) -> None:
        self._sequencer = Sequencer()
        self._writers: set[int] = set()
        self._snapshot: dict[str, Any] = {}
        self._bodies: list[bytes] = []

    def add(self, frame: Frame) -> None:
        """Take the next frame in."""
        self._writers.add(frame.attempt)
        verdict = self._sequencer.judge(frame)
        whole = frame.kind is FrameKind.SNAPSHOT and frame.first == self._sequencer.next_index
        if verdict is Verdict.DELIVER:
            self._bodies.append(frame.body)
        elif verdict is Verdict.BRIDGE or (verdict is Verdict.QUIET and whole):
            # All before it need not be read at all.
            self._sequencer.jump(frame)
            self._snapshot, self._bodies = orjson.loads(frame.body), []

    def standing(self, end: CompletionCompleted | None) -> Standing:
        """How it stands, with the end if there is one: that is the truth."""
        if end is not None:
            return Standing(
                end.status.value, end.text, end.thinking, end.tool_calls, end.attempts, end
            )
        status: Status = "running" if self._writers else "queued"
        text = [self._snapshot.get("text") or ""]
        thinking = [self._snapshot.get("thinking") or ""]
        calls = [dict(_flat(call)) for call in self._snapshot.get("tool_calls") or []]
        for delta in (delta for body in self._bodies for delta in _deltas(body)):
            text.append(delta.get("content") or "")
            thinking.append(delta.get("reasoning_content") or "")
            for piece in delta.get("tool_calls") or []:
                _add_call(calls, piece)
        return Standing(
            status,
            "".join(text),
            "".join(thinking),
            [_tool_call(call) for call in calls],
            len(self._writers),
            None,
        )


def _deltas(body: bytes) -> Iterator[dict[str, Any]]:
    for event in body.split(b"\n\n"):
        if event.startswith(_DATA):
            for choice in orjson.loads(event[len(_DATA) :]).get("choices", ()):
                yield choice["delta"]


def _flat(call: dict[str, Any]) -> Iterator[tuple[str, str]]:
    function = call.get("function") or {}
    yield from (
        ("id", call.get("id") or ""),
        ("name", function.get("name") or ""),
        ("arguments", function.get("arguments") or ""),
    )


def _add_call(calls: list[dict[str, str]], piece: dict[str, Any]) -> None:
    index = piece["index"]
    while len(calls) <= index:
        calls.append({"id": "", "name": "", "arguments": ""})
    call, more = calls[index], dict(_flat(piece))
    # The first piece has id and name; arguments come in any number of pieces.
    call["id"], call["name"] = more["id"] or call["id"], more["name"] or call["name"]
    call["arguments"] += more["arguments"]


def _tool_call(call: dict[str, str]) -> ToolCall:
    function = FunctionCall(name=call["name"], arguments=call["arguments"])
    return ToolCall(id=call["id"], function=function)
