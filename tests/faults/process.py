"""One real process, and everything that may be done to it."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from shared.observability.logging import READY
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
SAID = f'"{READY}"'
"""What a service prints once it is ready."""
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Process:
    """A command with an environment of its own; started, broken and started again as it was."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        url: str = "",
        ready: str = SAID,
    ) -> None:
        """Describe it; nothing runs yet.

        Args:
            name: How it is called in messages.
            command: What is run, in the root of the repository.
            environment: Its settings; of the tests' own environment it gets only what finds
                programs.
            log: Where its output goes, all its lives in one file.
            url: Where it listens.
            ready: What stands in its output once it is ready.
        """
        self.name = name
        self.url = url
        self._command = command
        self._environment = environment
        self._log = log
        self._ready = ready
        self._begin = 0
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, **environment: str) -> None:
        """Start it, with more settings for this life; returns once it is ready."""
        assert not self.alive, f"{self.name} runs already"
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        inherited = {
            name: os.environ[name]  # noqa: TID251 - a child must find its programs
            for name in _INHERITED
            if name in os.environ  # noqa: TID251 - as above
        }
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a moment
                self._command,
                env={**inherited, **self._environment, **environment},
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )
        await eventually(self._ready_or_dead, within=30)
        assert self.alive, self.output()

    def _ready_or_dead(self) -> bool:
        return self._ready in self.output() or not self.alive

    @property
    def pid(self) -> int:
        """Of its present or last life."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs; one that is frozen does."""
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self.alive and bool(self.stats().status() == psutil.STATUS_STOPPED)

    def output(self) -> str:
        """What its present or last life has printed."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event in its present or last life."""
        lines = (line for line in self.output().splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, lines) if line.get("event") == event]

    def kill(self) -> None:
        """Kill -9, and wait."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it answers nothing, and what is sent to it waits in its sockets."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._signal(signal.SIGTERM)

    async def ended(self, *, within: float = 15.0) -> int:
        """Its exit code, once it has ended; minus the signal if one has killed it."""
        try:
            await eventually(lambda: not self.alive, within=within)
        except AssertionError:
            message = f"{self.name} has not ended within {within} s: {self.output()[-3000:]}"
            raise AssertionError(message) from None
        assert self._process is not None
        return int(self._process.returncode)

    def stats(self) -> psutil.Process:
        """What the kernel knows of it."""
        return psutil.Process(self.pid)

    def cpu_seconds(self) -> float:
        """Time of a core that it has used."""
        times = self.stats().cpu_times()
        return float(times.user + times.system)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            assert self._process is not None
            self._process.send_signal(number)
