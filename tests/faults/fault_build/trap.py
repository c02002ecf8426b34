"""What ends or freezes a process at a named point, and how it is told which one."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Literal

from pydantic_settings import BaseSettings, SettingsConfigDict


class FaultSettings(BaseSettings):
    """``FAULT_*``: where the process breaks, and how."""

    model_config = SettingsConfigDict(env_prefix="FAULT_", frozen=True, extra="ignore")

    point: str = ""
    """Such as ``completed``, or ``token:5``; empty for none."""
    action: Literal["kill", "stop"] = "kill"
    skew_seconds: float = 0.0
    """How wrong the wall clock of a gateway is."""


class Trap:
    """Springs once, at its point; the number behind the colon is the point's own."""

    def __init__(self, settings: FaultSettings) -> None:
        self.point, _, number = settings.point.partition(":")
        self.number = int(number or 0)
        self._signal = signal.SIGKILL if settings.action == "kill" else signal.SIGSTOP
        self._sprung = False

    def is_set(self, point: str) -> bool:
        """Whether the process is to break at ``point``, and has not yet."""
        return self.point == point and not self._sprung

    def spring(self) -> None:
        """Break: nothing after this line happens (before somebody says SIGCONT)."""
        self._sprung = True
        os.kill(os.getpid(), self._signal)


def count_tasks_when_asked() -> None:
    """SIGUSR1: print how many tasks there are, as a line of the log."""

    def count(_number: int, _frame: FrameType | None) -> None:
        with suppress(RuntimeError):
            line = {"event": "tasks", "count": len(asyncio.all_tasks())}
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()

    signal.signal(signal.SIGUSR1, count)


class After:
    """A port with a trap behind one of its methods: the last thing that its process does."""

    def __init__(self, port: object, method: str, trap: Trap, point: str) -> None:
        self._port, self._method = port, method
        self._trap, self._point = trap, point
        self._calls = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        found = getattr(self._port, name)
        if name != self._method or not self._trap.is_set(self._point):
            return found
        return self._trapped(found)

    def _trapped(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def trapped(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the port has
            result = await method(*arguments, **named)
            self._calls += 1
            if self._calls >= self._trap.number:
                self._trap.spring()
            return result

        return trapped
