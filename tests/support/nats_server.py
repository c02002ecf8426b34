"""A real nats-server of a test's own, up in about 40 ms."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.nats.configuration import Configuration
from deploy.provisioning.provisioner import Provisioner
from shared.contracts.identities import Identity
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from shared.nkey_seeds import new_seed, public_key
from tests.support.nats_keys import TESTER, close_rest, connect, known_keys, tester, tester_key

_VIOLATION = " Violation - "
BINARY = Path(sys.prefix) / "bin" / "nats-server"


class NatsServer:
    """``async with NatsServer(directory) as server: await connect(server.url)``.

    It runs with the configuration that is shipped, and can be killed and started again on the same
    port and store. What somebody has tried without permission fails the test at the end.
    """

    def __init__(self, directory: Path, *, monitor: str | None = None) -> None:
        self._directory = directory
        self._monitor = monitor
        self._log = directory / "nats.log"
        self._read = 0
        self.strangers: set[Identity] = set()
        """Whose keys it does not know from its next start on."""
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
        self._process = self._spawn(self._configuration(ports))
        async with asyncio.timeout(10):
            while not self._listening(ports):
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.01)

    def reload(self) -> None:
        """SIGHUP: read the configuration anew, with what ``strangers`` are now."""
        self._configuration(self._directory / "ports")
        os.kill(self.pid, signal.SIGHUP)

    def _configuration(self, ports: Path) -> Path:
        shipped = Configuration(
            host="127.0.0.1",
            port=self.port or -1,
            store=self._directory / "store",
            public_keys={
                **known_keys().public_keys(),
                **{stranger: public_key(new_seed()) for stranger in self.strangers},
            },
            monitor=self._monitor,
        )
        config = self._directory / "nats.conf"
        config.write_text(f"{shipped.text(tester())}ports_file_dir: '{ports}'\n")
        return config

    def _spawn(self, config: Path) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
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

    async def provision(self, capacity: Capacity) -> None:
        """Make all streams, as ``parley provision`` does."""
        client = await connect(self.url, Identity.PROVISIONER)
        await Provisioner(JetStream(client), capacity).provision()
        await client.close()

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def lose_store(self) -> None:
        """Remove all that it has kept; it must not run."""
        shutil.rmtree(self._directory / "store")

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, how)
            self._process.wait(10)

    def violations(self) -> list[str]:
        """What was tried without permission since the last call: ``worker: Publish … "subject"``.

        The broker's own word: a client that is refused may not notice.
        """
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read().decode(errors="replace")
            self._read = log.tell()
        return [_named(line) for line in violations_in(text)]

    def turned_away(self) -> int:
        """How many clients it has not let in, by its own count."""
        return self._log.read_text(errors="replace").count("authentication error")

    def permit_nothing_more(self) -> None:
        """Fail if somebody has tried what he may not."""
        tried = self.violations()
        assert tried == [], "\n".join(["without permission (deploy/nats/permissions.py):", *tried])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await close_rest(self.url)
        self.stop()
        self.permit_nothing_more()


def violations_in(log: str) -> list[str]:
    """The lines of a broker's log that say who tried what without permission."""
    return [line for line in log.splitlines() if _VIOLATION in line]


def _named(line: str) -> str:
    names = {key: str(identity) for identity, key in known_keys().public_keys().items()}
    for key, name in {**names, tester_key(): TESTER}.items():
        if key in line:
            return f"{name}: {line.partition('[ERR] ')[2]}"
    return line
