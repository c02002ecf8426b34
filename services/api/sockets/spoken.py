"""What has been said of one answer, by index: pure. For readers who want text, not events."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson

_ID: Final = b"id: "
_DATA: Final = b"data: "


@dataclass(frozen=True, slots=True)
class Piece:
    """One event."""

    index: int
    content: str
    thinking: str


class Spoken:
    """The text so far, and where in it each event ended."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._indices: list[int] = []
        self._ends: list[int] = []
        self.length = 0

    @property
    def index(self) -> int:
        """Of the last event; -1 before the first."""
        return self._indices[-1] if self._indices else -1

    @property
    def text(self) -> str:
        """All of it: to be asked for now and then, not for each piece."""
        return "".join(self._parts)

    def since(self, length: int) -> str:
        """What follows the first ``length`` characters: as cheap as it is short."""
        first = bisect.bisect_right(self._ends, length)
        if first == len(self._parts):
            return ""
        begun = self._ends[first] - len(self._parts[first])
        return "".join(self._parts[first:])[length - begun :]

    def add(self, piece: Piece) -> None:
        """The next event; one that is known already says nothing."""
        if piece.index <= self.index:
            return
        self._parts.append(piece.content)
        self.length += len(piece.content)
        self._indices.append(piece.index)
        self._ends.append(self.length)

    def end_of(self, index: int) -> int:
        """How long the text was after event ``index``."""
        position = bisect.bisect_right(self._indices, index)
        return self._ends[position - 1] if position else 0


def pieces(data: bytes) -> Iterator[Piece]:
    """The events of a numbered stream that say something."""
    index = -1
    for line in data.split(b"\n"):
        if line.startswith(_ID):
            index = int(line.rsplit(b":", 1)[1])
        elif line.startswith(_DATA):
            for choice in orjson.loads(line[len(_DATA) :]).get("choices", ()):
                delta = choice["delta"]
                yield Piece(index, delta.get("content") or "", delta.get("reasoning_content") or "")
