"""Where a child's words go: its log file, the last few in memory, the terminal when asked."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

_TAIL_LINES: Final = 10
_LONGEST_LINE: Final = 65_536
_LARGEST_FILE: Final = 5 * 1024 * 1024


class Lines:
    """Cuts what a child writes into lines; an endless line comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def end(self) -> list[str]:
        """What stands after the last line feed, as a line of its own."""
        return self.feed(b"\n") if self._rest else []


class LogFile:
    """An append-only file that moves to ``<name>.1`` when it grows too large."""

    def __init__(self, path: Path, *, largest: int = _LARGEST_FILE) -> None:
        self._path = path
        self._largest = largest
        self._file = path.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Append one line, at once. On a full disk it is lost: the child matters more."""
        with contextlib.suppress(OSError):
            self._file.write(line.encode(errors="replace") + b"\n")
            if self._file.tell() >= self._largest:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file.close()
                self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        self._file.close()


class Output:
    """The words of one child, over one life of it."""

    def __init__(self, name: str, log: LogFile, echo: Callable[[str], None] | None = None) -> None:
        self._name = name
        self._log = log
        self._echo = echo
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._closed = False

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that are not blank, oldest first."""
        return tuple(self._tail)

    def take(self, line: str) -> None:
        """Record one line; what comes after the end is lost."""
        if self._closed:
            return
        self._log.write(line)
        if line.strip():
            self._tail.append(line)
        if self._echo:
            self._echo(f"{self._name:<15}| {line}")

    def close(self) -> None:
        """Close the log file."""
        self._closed = True
        self._log.close()
