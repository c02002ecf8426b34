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


class Said:
    """Text that grows, and where in it each event ended."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._ends: list[int] = []
        self.length = 0

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

    def add(self, text: str) -> None:
        """What the next event says, which may be nothing."""
        self._parts.append(text)
        self.length += len(text)
        self._ends.append(self.length)

    def after(self, events: int) -> int:
        """How long it was after so many events."""
        return self._ends[events - 1] if events else 0


class Spoken:
    """An answer and the thinking before it, so far."""

    def __init__(self) -> None:
        self._indices: list[int] = []
        self._content = Said()
        self.thinking = Said()

    @property
    def index(self) -> int:
        """Of the last event; -1 before the first."""
        return self._indices[-1] if self._indices else -1

    @property
    def length(self) -> int:
        """Of the answer, in characters."""
        return self._content.length

    @property
    def text(self) -> str:
        """All of the answer: see ``Said``."""
        return self._content.text

    def since(self, length: int) -> str:
        """What follows the first ``length`` characters of the answer."""
        return self._content.since(length)

    def add(self, piece: Piece) -> None:
        """The next event; one that is known already says nothing."""
        if piece.index <= self.index:
            return
        self._indices.append(piece.index)
        self._content.add(piece.content)
        self.thinking.add(piece.thinking)

    def knows(self, index: int) -> bool:
        """Whether the text can be cut after event ``index``: pieces may be of several events."""
        if index < 0 or index >= self.index:
            return True
        return self._indices[bisect.bisect_left(self._indices, index)] == index

    def ends_of(self, index: int) -> tuple[int, int]:
        """How long the answer and the thinking were after event ``index``."""
        events = bisect.bisect_right(self._indices, index)
        return self._content.after(events), self.thinking.after(events)


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
