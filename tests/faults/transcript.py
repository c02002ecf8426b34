"""What the bytes of a stream say: read strictly, for whatever is odd is a finding."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_ID = re.compile(r"(chatcmpl-[0-9a-f]{32}):(\d+)")


@dataclass
class Transcript:
    """One client's stream, as far as it came."""

    text: str = ""
    completion_id: str = ""
    indices: list[int] = field(default_factory=list)
    """Of events that said their own: only where the client asked for resume."""
    repaired: bool = False
    """Whether an event may stand for several: what the broker has lost comes as one delta."""
    jumps: list[int] = field(default_factory=list)
    """Indices of events that do."""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    terminals: int = 0
    """How often ``[DONE]`` came."""
    oddities: list[str] = field(default_factory=list)
    """What no client should ever see."""

    @property
    def whole(self) -> bool:
        """Whether it ended as an answer does, once."""
        return self.terminals == 1 and self.error is None and self.finish_reason is not None

    @property
    def failed(self) -> bool:
        """Whether it ended with one honest error."""
        return self.terminals == 1 and self.error is not None and self.finish_reason is None


def read(raw: bytes, *, repaired: bool = False) -> Transcript:
    """Read a stream; what stands behind the last line end is not there yet.

    Args:
        raw: The bytes.
        repaired: The broker may have lost frames: one event may stand for several.
    """
    found = Transcript(repaired=repaired)
    for line in raw[: raw.rfind(b"\n") + 1].decode().split("\n"):
        if found.terminals and line:
            found.oddities.append(f"after the end: {line!r}")
        if line.startswith("data: "):
            _data(found, line[6:])
        elif line.startswith("id: "):
            _index(found, line[4:])
        elif line and not line.startswith(":"):
            found.oddities.append(f"a line {line!r}")
    return found


def _index(found: Transcript, text: str) -> None:
    match = _ID.fullmatch(text)
    if match is None:
        found.oddities.append(f"an id {text!r}")
        return
    index = int(match[2])
    if found.indices and index <= found.indices[-1]:
        found.oddities.append(f"index {index} after {found.indices[-1]}")
    elif found.indices and index > found.indices[-1] + 1:
        found.jumps.append(index)
        if not found.repaired:
            found.oddities.append(f"index {index} after {found.indices[-1]}")
    found.indices.append(index)


def _data(found: Transcript, text: str) -> None:
    if text == "[DONE]":
        found.terminals += 1
        return
    event = json.loads(text)
    if found.error is not None:
        found.oddities.append(f"after an error: {text!r}")
    if "error" in event:
        found.error = event["error"]
        return
    if found.completion_id not in ("", event["id"]):
        found.oddities.append(f"an event of {event['id']}")
    found.completion_id = event["id"]
    found.usage = event.get("usage") or found.usage
    for choice in event["choices"]:
        _choice(found, choice)


def _choice(found: Transcript, choice: dict[str, Any]) -> None:
    content = choice["delta"].get("content")
    if content and found.finish_reason is not None:
        found.oddities.append(f"text after the finish: {content!r}")
    found.text += content or ""
    if choice.get("finish_reason"):
        if found.finish_reason is not None:
            found.oddities.append("a second finish")
        found.finish_reason = choice["finish_reason"]
