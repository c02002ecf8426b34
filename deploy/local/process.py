"""One child: its own session, its output, terminate → wait → kill of its process group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local import child as exec_shim
from deploy.local.errors import LauncherError
from deploy.local.output import Lines, LogFile, Output
from deploy.local.spec import ChildSpec, Printed

_LAST_WORDS: Final = 1.0
"""Seconds to read what a dead child's pipe still holds."""


class _Events(asyncio.SubprocessProtocol):
    """What the event loop tells about a process.

    ``asyncio.subprocess.Process.wait`` would not do: since Python 3.11 it returns only when the
    pipes are closed too, and a grandchild may hold those for ever.
    """

    def __init__(self, line: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.silent: asyncio.Future[None] = loop.create_future()
        self._line = line
        self._lines = Lines()

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        """The child has written something."""
        for line in self._lines.feed(data):
            self._line(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - as above
        """Nobody can write any more."""
        for line in self._lines.end():
            self._line(line)
        self.silent.set_result(None)

    def process_exited(self) -> None:
        """The process itself has ended."""
        self.exited.set_result(None)


class Child:
    """A started process. It is the leader of its own group and session.

    A session of its own keeps the terminal's Ctrl-C away from it: the launcher alone decides in
    which order children stop.
    """

    def __init__(self, spec: ChildSpec, output: Output) -> None:
        self.spec = spec
        self._output = output
        self._said_ready = asyncio.Event()
        self._events = _Events(self._take)

    @classmethod
    async def start(
        cls, spec: ChildSpec, log_dir: Path, echo: Callable[[str], None] | None = None
    ) -> Child:
        """Start the process of ``spec``; its output goes to ``<log_dir>/<name>.log``.

        Raises:
            LauncherError: the system has no room for a process or for its log.
        """
        try:
            if spec.remove_first:
                spec.remove_first.unlink(missing_ok=True)
            child = cls(spec, Output(spec.name, LogFile(log_dir / f"{spec.name}.log"), echo))
            await child._exec()
        except OSError as error:
            sentence = f"{spec.name} cannot be started: {error}."
            raise LauncherError(sentence) from error
        return child

    async def _exec(self) -> None:
        self._transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: self._events,
            *(sys.executable, "-I", "-S", str(exec_shim.__file__), str(os.getpid())),
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(self.spec.env),
            start_new_session=True,
        )
        self._ending = asyncio.create_task(self._end(), name=f"wait {self.spec.name}")

    @property
    def pid(self) -> int:
        """The pid of the program itself: ``child.py`` becomes it, it does not wrap it."""
        return self._transport.get_pid()

    @property
    def tail(self) -> tuple[str, ...]:
        """Its last lines of output, oldest first."""
        return self._output.tail

    async def said_ready(self) -> None:
        """Return once a line of output has held the ready event."""
        await self._said_ready.wait()

    async def wait(self) -> int:
        """Return the exit code (negative: the signal), after the last output has been read."""
        return await asyncio.shield(self._ending)

    async def stop(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Ask it to end; kill its group after ``grace``, or at once when ``hurry`` is set."""
        if not self._ending.done():
            self._signal(signal.SIGTERM)
            impatience = asyncio.create_task(hurry.wait())
            await asyncio.wait(
                {self._ending, impatience},
                timeout=grace.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            impatience.cancel()
        if not self._ending.done():
            self._signal(signal.SIGKILL)
        await self.wait()

    def _take(self, line: str) -> None:
        self._output.take(line)
        readiness = self.spec.readiness
        if isinstance(readiness, Printed) and readiness.event in line:
            self._said_ready.set()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _end(self) -> int:
        await self._events.exited
        # Whatever it started itself lives in its group, and goes with it.
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._events.silent}, timeout=_LAST_WORDS)
        code = self._transport.get_returncode()
        assert code is not None
        self._transport.close()
        self._output.close()
        return code
