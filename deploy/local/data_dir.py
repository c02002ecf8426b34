"""The data directory: its layout, and the lock that keeps a second launcher out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy.local.errors import AlreadyRunning, LauncherError

_PRIVATE: Final = 0o700
_LOCK_TRIES: Final = 5
_BETWEEN_TRIES: Final = 0.05


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where everything of one installation lives."""

    root: Path

    @property
    def nats(self) -> Path:
        """The broker's configuration and JetStream's files."""
        return self.root / "nats"

    @property
    def mongo(self) -> Path:
        """The database's files."""
        return self.root / "mongo"

    @property
    def run(self) -> Path:
        """What is true only while a launcher runs, and the ports it chose."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log file for each child."""
        return self.root / "logs"

    @property
    def processes(self) -> Path:
        """The file that ``parley ps`` reads."""
        return self.run / "processes.json"

    @property
    def lock(self) -> Path:
        """Locked by the running launcher; holds its pid."""
        return self.run / "lock"

    def create(self) -> None:
        """Make the directories, readable by the user alone.

        Raises:
            LauncherError: the directory cannot be created or written.
        """
        try:
            if not self.root.exists():
                self.root.mkdir(mode=_PRIVATE, parents=True)
            for directory in (self.nats, self.mongo, self.run, self.logs):
                directory.mkdir(mode=_PRIVATE, exist_ok=True)
                directory.chmod(_PRIVATE)
        except OSError as error:
            sentence = (
                f"the data directory {self.root} cannot be used (--data-dir): {error.strerror}."
            )
            raise LauncherError(sentence) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process. The kernel frees it, however the process ends.

        Raises:
            AlreadyRunning: another launcher holds it.
        """
        with self.lock.open("a+") as file:
            if not _exclusive(file):
                sentence = (
                    f"Parley already runs on {self.root}, in process {self._holder()}; stop it "
                    "first, or give --data-dir another directory."
                )
                raise AlreadyRunning(sentence)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield

    def is_locked(self) -> bool:
        """Whether a launcher runs on this directory now.

        Raises:
            LauncherError: the directory is none, or another user's.
        """
        try:
            with self.lock.open() as file:
                # A shared lock is refused only while a launcher holds the exclusive one.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            sentence = f"{self.root} cannot be read (--data-dir): {error.strerror}."
            raise LauncherError(sentence) from error
        return False

    def _holder(self) -> str:
        return self.lock.read_text().strip() or "unknown"


def _exclusive(file: IO[str]) -> bool:
    """Lock ``file``; tries again for a moment, because ``is_locked`` holds it for an instant."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)
        else:
            return True
    return False
