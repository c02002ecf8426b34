"""The whole of Parley as a user starts it: ``parley up`` as a subprocess, driven from outside."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.limits import NO_LIMITS_ENVIRONMENT
from tests.support.nats_server import violations_in

PARLEY = Path(sys.prefix) / "bin" / "parley"


class Stack:
    """``async with Stack(directory) as stack: httpx.get(stack.url + "/v1/models")``."""

    def __init__(
        self, directory: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self.data_dir = directory
        self._arguments = arguments
        self._environment = {**NO_LIMITS_ENVIRONMENT, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.lines: list[str] = []
        self.url = ""

    async def start(self, *, within: float = 60.0) -> None:
        """Start, and return once the URL is printed.

        Raises:
            AssertionError: it ended, or printed no URL in time; carries what it printed.
        """
        self._process = await asyncio.create_subprocess_exec(
            PARLEY, "up", "--port", "0", "--data-dir", self.data_dir, "--demo", *self._arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._environment},  # noqa: TID251 - a user's own environment
            cwd=self.data_dir.parent,
        )  # fmt: skip
        ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read(ready))
        try:
            async with asyncio.timeout(within):
                await ready.wait()
        except TimeoutError:
            await self.kill_launcher()
        assert self.url, "\n".join(self.lines)

    async def _read(self, ready: asyncio.Event) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.lines.append(line)
            if line.startswith("Parley is ready: "):
                self.url = line.split(": ", 1)[1].split()[0].rstrip("/")
                ready.set()
        ready.set()

    def processes(self) -> list[dict[str, Any]]:
        """What ``parley ps --json`` would list."""
        listed: list[dict[str, Any]] = json.loads(
            (self.data_dir / "run" / "processes.json").read_text()
        )
        return listed

    async def ps(self) -> list[dict[str, Any]]:
        """What ``parley ps --json`` lists."""
        listed: list[dict[str, Any]] = json.loads(
            await self.parley("ps", "--data-dir", str(self.data_dir), "--json")
        )
        return listed

    async def parley(self, *arguments: str, code: int = 0) -> str:
        """Run another ``parley`` command to its end; gives its standard output."""
        process = await asyncio.create_subprocess_exec(
            PARLEY, *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
        assert process.returncode == code, (output.decode(), errors.decode())
        return output.decode()

    async def pids(self, prefix: str) -> list[int]:
        """The pids of all processes whose name starts with ``prefix``."""
        return [each["pid"] for each in await self.ps() if each["name"].startswith(prefix)]

    async def address(self, prefix: str) -> str:
        """The URL of the first process whose name starts with ``prefix``."""
        urls = [each["url"] for each in await self.ps() if each["name"].startswith(prefix)]
        return str(urls[0]).rstrip("/")

    def client(self) -> httpx.AsyncClient:
        """An HTTP client of the first gateway."""
        return httpx.AsyncClient(base_url=self.url, timeout=30)

    async def stop(self, how: signal.Signals = signal.SIGINT, *, within: float = 60.0) -> int:
        """Ctrl-C; gives the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(within):
            code = await self._process.wait()
            assert self._reader is not None
            await self._reader
        broker = self.data_dir / "logs" / "nats.log"
        tried = violations_in(broker.read_text()) if broker.exists() else []
        assert tried == [], "\n".join(["without permission (deploy/nats/permissions.py):", *tried])
        return code

    async def kill_launcher(self) -> None:
        """Kill -9 of the launcher alone."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def alive(pid: int) -> bool:
    """Whether a process with this pid runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
