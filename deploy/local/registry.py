"""``processes.json``: what runs now, for ``parley ps`` and for the next launcher."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from deploy.local.spec import External

# As far as the last @ of each address: a password may hold what it should have escaped.
_USER_INFO: Final = re.compile(r"//(?:(?!,\s*\w+://).)*@")


@dataclass(frozen=True, slots=True)
class Entry:
    """One process, or one server that the user runs (then without a pid)."""

    name: str
    pid: int | None
    url: str | None
    created: float | None = None
    """The process's birth, which tells it from a later one with the same pid."""


class Registry:
    """Keeps the file up to date; readers see the old state or the new one, never half of one."""

    def __init__(self, path: Path, externals: Iterable[External] = ()) -> None:
        self._path = path
        self._entries = {e.name: Entry(e.name, None, without_secrets(e.url)) for e in externals}

    def started(self, name: str, pid: int, url: str | None) -> None:
        """Record a start or restart."""
        self._entries[name] = Entry(name, pid, without_secrets(url), created(pid))
        self._write()

    def remove(self) -> None:
        """Forget everything: nothing runs any more."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        text = json.dumps([asdict(entry) for entry in self._entries.values()], indent=1)
        new = self._path.with_suffix(".new")
        new.write_text(text)
        new.replace(self._path)


def read(path: Path) -> tuple[Entry, ...]:
    """What the file says; nothing when it is missing or not ours."""
    try:
        return tuple(Entry(**item) for item in json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return ()


def created(pid: int) -> float | None:
    """When process ``pid`` was born, seconds since the epoch; ``None`` when it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def without_secrets(url: str | None) -> str | None:
    """``url``, which may be several by commas, without user names and passwords."""
    return _USER_INFO.sub("//", url) if url else url
