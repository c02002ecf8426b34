"""A real nats-server of a test's own, up in about 40 ms."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

BINARY = Path(sys.prefix) / "bin" / "nats-server"


class NatsServer:
    """``async with NatsServer(directory) as server: connect(server.url)``.

    It can be killed and started again on the same port and store.
    """

    def __init__(self, directory: Path, *, extra: str = "", storage: str = "") -> None:
        self._directory = directory
        self._extra = extra
        self._storage = storage
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and return once it accepts connections."""
        ports = self._directory / "ports"
        ports.mkdir(parents=True, exist_ok=True)
        config = self._directory / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{self.port or -1}\n"
            f"max_payload: 8MB\nwrite_deadline: '5s'\nping_interval: '10s'\nping_max: 2\n"
            f"ports_file_dir: '{ports}'\n"
            f"jetstream {{ store_dir: '{self._directory / 'store'}', sync_interval: always, "
            f"{self._storage} }}\n"
            f"{self._extra}\n"
        )
        self._process = self._spawn(config)
        async with asyncio.timeout(10):
            while not self._listening(ports):
                assert self._process.poll() is None, (self._directory / "nats.log").read_text()
                await asyncio.sleep(0.01)

    def _spawn(self, config: Path) -> subprocess.Popen[bytes]:
        with (self._directory / "nats.log").open("ab") as output:
            return subprocess.Popen([BINARY, "-c", config], stdout=output, stderr=output)

    def _listening(self, ports: Path) -> bool:
        assert self._process is not None
        file = ports / f"nats-server_{self._process.pid}.ports"
        if not file.exists():
            return False
        try:
            address = json.loads(file.read_text())["nats"][0]
        except (json.JSONDecodeError, KeyError, IndexError):
            return False
        self.port = int(address.rsplit(":", 1)[1])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, how)
            self._process.wait(10)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
