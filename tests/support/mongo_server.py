"""MongoDB's wire protocol on SQLite (nx-27017), a server of the tests' own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pymongo import MongoClient

_MAIN = "from nx_27017.nx_27017 import main; main()"


class MongoServer:
    """``with MongoServer(directory) as server: connect(server.url)``.

    It can be killed, frozen and started again on the same port and file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return once it accepts connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        pid_file = self._directory / "nx.pid"
        # It takes a live pid in there for a running server.
        pid_file.unlink(missing_ok=True)
        with (self._directory / "nx.out").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _MAIN, "--host", "127.0.0.1", "--port", str(self.port)),
                    *("--db", self._directory / "nx.db", "--pid-file", pid_file),
                    *("--log-file", os.devnull),
                ],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 15
        while not self._listening():
            assert self._process.poll() is None, (self._directory / "nx.out").read_text()
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def make_anew(self) -> None:
        """Running and empty, whatever a test has done to it: quicker than a new one."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.thaw()
        with MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=5000) as client:
            # All databases of nx-27017 share their collections.
            database = client["parley"]
            for name in database.list_collection_names():
                database.drop_collection(name)

    def kill(self) -> None:
        """Kill -9."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def docker_answers() -> bool:
    """Whether a Docker engine can start a real MongoDB here."""
    try:
        answer = subprocess.run(
            ["docker", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0
