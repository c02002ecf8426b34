"""The launcher over real processes: what it starts, what it says, and that nothing stays."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import pytest
from pymongo import MongoClient

from deploy.local import registry
from deploy.local.leftovers import stop_leftovers
from deploy.local.nats_server import keys_of
from deploy.provisioning.provisioner import Provisioner
from shared.contracts import streams, subjects
from shared.contracts.identities import Identity
from shared.contracts.jetstream_api import stream_info
from shared.contracts.streams import Capacity
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import JetStream
from tests.support.nats_keys import connect
from tests.support.stack import PARLEY, Stack, alive
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration
SMALL_PARLEY = Path(__file__).parents[1] / "unit" / "launcher" / "small_parley.py"

POLITE = """
import pathlib, signal, sys
name, root = sys.argv[1:]
def end(number, frame):
    with (pathlib.Path(root) / "stopped").open("a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('{"event": "parley_ready"}')
while True:
    signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("parley_ready")
while True:
    signal.pause()
"""
PARENT = """
import pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
(pathlib.Path(sys.argv[2]) / "grandchild").write_text(str(child.pid))
print("parley_ready")
child.wait()
"""
BROKEN = "print('I cannot go on'); raise SystemExit(3)"


class Launcher:
    """A running ``small_parley.py``."""

    def __init__(self, data_dir: Path, *stages: list[dict[str, Any]]) -> None:
        self.data_dir = data_dir
        self._stages = stages
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.lines: list[str] = []

    async def start(self) -> None:
        """Start, and return once it says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SMALL_PARLEY), str(self.data_dir), json.dumps(self._stages)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=SMALL_PARLEY.parents[3],
        )
        self._reading = asyncio.create_task(self._read())
        await eventually(lambda: self.said("Parley is ready") or self._process_ended, within=30)

    @property
    def _process_ended(self) -> bool:
        assert self._reading is not None
        return self._reading.done()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())

    def said(self, text: str) -> bool:
        """Whether a line of its output holds ``text``."""
        return any(text in line for line in self.lines)

    def pids(self) -> dict[str, int]:
        """The pid of each child that runs, as the registry has it."""
        entries = registry.read(self.data_dir / "run" / "processes.json")
        return {entry.name: entry.pid for entry in entries if entry.pid}

    def url(self, name: str) -> str:
        """Where ``name`` listens, as the registry has it."""
        entries = registry.read(self.data_dir / "run" / "processes.json")
        return next(entry.url for entry in entries if entry.name == name and entry.url)

    def send(self, number: signal.Signals) -> None:
        """Signal the launcher alone."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, within: float = 30.0) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(within):
            code = await self._process.wait()
            await self._reading
        return code

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, and wait for its exit code."""
        self.send(how)
        return await self.ended()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            await self.stop()


def child(name: str, code: str = POLITE, **more: object) -> dict[str, Any]:
    return {"name": name, "code": code, **more}


async def parley(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        str(PARLEY),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},  # noqa: TID251 - a user's own environment
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@contextlib.asynccontextmanager
async def collection(url: str) -> AsyncGenerator[Any]:
    client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=5000)
    try:
        yield client["parley"]["notes"]
    finally:
        await asyncio.to_thread(client.close)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_ends_everything_in_reverse_order(tmp_path: Path, how: signal.Signals) -> None:
    stages = ([child("nats"), child("mongo")], [child("history")], [child("gateway-1")])
    async with Launcher(tmp_path / "data", *stages) as launcher:
        pids = launcher.pids()
        assert set(pids) == {"nats", "mongo", "history", "gateway-1"}
        assert all(map(alive, pids.values()))

        assert await launcher.stop(how) == 0

    assert [name for name, pid in pids.items() if alive(pid)] == []
    assert (tmp_path / "data" / "stopped").read_text().split() == ["gateway-1", "history"]
    assert not (tmp_path / "data" / "run" / "processes.json").exists()


async def test_the_listed_pid_is_the_servers_own_and_not_a_wrapper(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("nats")]) as launcher:
        program = psutil.Process(launcher.pids()["nats"]).name()

    assert program == "nats-server"


async def test_a_child_that_dies_before_it_is_ready_is_a_sentence_and_its_last_words(
    tmp_path: Path,
) -> None:
    async with Launcher(tmp_path / "data", [child("nats")], [child("worker", BROKEN)]) as launcher:
        assert await launcher.ended() == 1

    assert launcher.said("I cannot go on")
    assert launcher.lines[-1] == "worker ended with exit code 3 before it was ready."
    assert not launcher.said("Traceback")
    assert "I cannot go on" in (tmp_path / "data" / "logs" / "worker.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems clean up at the next start")
async def test_a_killed_launcher_takes_every_child_with_it(tmp_path: Path) -> None:
    stages = ([child("nats"), child("mongo")], [child("polite"), child("stubborn", STUBBORN)])
    async with Launcher(tmp_path / "data", *stages) as launcher:
        pids = launcher.pids()
        assert len(pids) == 4

        launcher.send(signal.SIGKILL)
        await launcher.ended()

        await eventually(lambda: not any(map(alive, pids.values())))


async def test_killed_servers_come_back_at_the_same_address_with_their_data(
    tmp_path: Path,
) -> None:
    async with Launcher(tmp_path / "data", [child("nats"), child("mongo")]) as launcher:
        before = launcher.pids()
        addresses = launcher.url("nats"), launcher.url("mongo")
        keys = keys_of(tmp_path / "data" / "nats")
        broker = await connect(
            addresses[0], Identity.PROVISIONER, keys=keys, max_reconnect_attempts=-1
        )
        jetstream = JetStream(broker)
        await Provisioner(jetstream, Capacity()).provision()
        history = await connect(addresses[0], Identity.HISTORY, keys=keys)
        await JetStream(history).publish(subjects.dead_letters("history"), b"kept")
        await history.close()
        async with collection(addresses[1]) as notes:
            await asyncio.to_thread(notes.insert_one, {"_id": "kept"})

        for pid in before.values():
            os.kill(pid, signal.SIGKILL)

        await eventually(lambda: not set(before.values()) & set(launcher.pids().values()))
        assert (launcher.url("nats"), launcher.url("mongo")) == addresses
        assert launcher.said("nats was killed by SIGKILL; it is restarted in 0.2 s.")

        async def stream_is_back() -> bool:
            try:
                info = await jetstream.api(stream_info(streams.DEAD_LETTERS))
            except BrokerUnavailable:
                return False
            return bool(info["state"]["messages"] == 1)

        await eventually(stream_is_back)
        await broker.close()
        async with collection(addresses[1]) as notes:
            assert await asyncio.to_thread(notes.find_one, {"_id": "kept"})


async def test_a_second_start_finds_yesterdays_data_even_after_a_kill(tmp_path: Path) -> None:
    stages = ([child("nats"), child("mongo")],)
    async with Launcher(tmp_path / "data", *stages) as first:
        address = first.url("mongo")
        async with collection(address) as notes:
            await asyncio.to_thread(notes.insert_one, {"_id": "kept"})
        pids = first.pids()
        first.send(signal.SIGKILL)
        await first.ended()
        await eventually(lambda: not any(map(alive, pids.values())))

    # A live process now has the pid that the database's stale file names.
    pid_file = tmp_path / "data" / "mongo" / "nx-27017.pid"
    assert pid_file.exists()
    pid_file.write_text(str(os.getpid()))
    async with Launcher(tmp_path / "data", *stages) as second:
        assert second.said("Parley is ready")
        assert second.url("mongo") == address
        async with collection(address) as notes:
            assert await asyncio.to_thread(notes.find_one, {"_id": "kept"})


async def test_one_data_directory_has_one_launcher(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("history")]) as first:
        async with Launcher(tmp_path / "data", [child("history")]) as second:
            assert await second.ended() == 1

        assert len(second.lines) == 1
        assert "Parley already runs" in second.lines[0]
        assert all(map(alive, first.pids().values()))


async def test_a_child_that_does_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("worker", STUBBORN, grace=0.2)]) as launcher:
        pid = launcher.pids()["worker"]

        assert await launcher.stop() == 0

    assert not alive(pid)


async def test_a_second_ctrl_c_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("worker", STUBBORN, grace=1000)]) as launcher:
        pid = launcher.pids()["worker"]
        launcher.send(signal.SIGINT)
        await eventually(lambda: launcher.said("Ctrl-C once more"))
        launcher.send(signal.SIGINT)

        assert await launcher.ended(within=10) == 0

    assert not alive(pid)


async def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("worker", PARENT)]) as launcher:
        grandchild = int((tmp_path / "data" / "grandchild").read_text())
        assert alive(grandchild)

        os.kill(launcher.pids()["worker"], signal.SIGKILL)

        await eventually(lambda: not alive(grandchild))


@pytest.fixture
def sleepers() -> Iterator[tuple[int, int]]:
    """The pids of two processes that only sleep."""
    running = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    yield running[0].pid, running[1].pid
    for process in running:
        process.kill()
        process.wait(10)


def test_what_a_killed_launcher_left_is_stopped_at_the_next_start(
    tmp_path: Path, sleepers: tuple[int, int]
) -> None:
    left, other = sleepers
    file = tmp_path / "processes.json"
    registry.Registry(file).started("nats", left, None)
    entries = json.loads(file.read_text())
    # A pid that lives, but was born at another time: not ours.
    entries.append({**entries[0], "name": "mongo", "pid": other, "created": 1.0})
    file.write_text(json.dumps(entries))

    assert stop_leftovers(file) == ("nats",)

    assert not alive(left)
    assert alive(other)


async def test_ps_of_a_stopped_directory(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))

    assert await parley("ps", "--json", *where) == (0, "[]\n", "")
    code, output, errors = await parley("ps", *where)
    assert (code, output) == (1, "")
    assert "Parley does not run on" in errors


async def test_ps_lists_name_pid_and_url(tmp_path: Path) -> None:
    async with Launcher(tmp_path / "data", [child("nats")]) as launcher:
        code, output, _ = await parley("ps", "--json", "--data-dir", str(tmp_path / "data"))

        assert code == 0
        assert json.loads(output) == [
            {"name": "nats", "pid": launcher.pids()["nats"], "url": launcher.url("nats")}
        ]


async def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, output, errors = await parley(
            *("up", "--port", str(port), "--data-dir", str(tmp_path / "data"))
        )

    assert (code, output) == (1, "")
    assert errors == (
        f"parley: port {port} on 127.0.0.1 is taken by another program; "
        "give --port another one, or 0 for any free one.\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("PARLEY_STOP_GRACE", "soon", 2),
        ("OLLAMA_BASE_URL", "localhost", 2),
        ("PARLEY_STOP_GRACE", "99999999999999d", 2),
        ("NATS_URL", "nats://127.0.0.1:1", 1),
        ("NATS_URL", "nats://no..host:4222", 1),
        ("MONGODB_URL", "mongodb://me:secret@127.0.0.1:1", 1),
    ],
)
async def test_a_setting_that_cannot_work_is_a_sentence_that_names_it(
    tmp_path: Path, name: str, value: str, code: int
) -> None:
    found, output, errors = await parley(
        *("up", "--port", "0", "--demo", "--data-dir", str(tmp_path / "data")), **{name: value}
    )

    assert (found, output) == (code, "")
    assert name in errors
    assert len(errors.splitlines()) == 1
    assert "secret" not in errors


@pytest.mark.slow
async def test_what_lies_in_the_current_directory_is_not_taken_for_a_part_of_parley(
    tmp_path: Path,
) -> None:
    for package in ("deploy", "services", "shared", "nx_27017"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('not of Parley')")

    async with Stack(tmp_path / "data") as stack:
        assert stack.url


async def test_names_that_parley_has_no_use_for_are_said_to_be_unused(tmp_path: Path) -> None:
    _, _, errors = await parley(
        *("up", "--port", "0", "--data-dir", str(tmp_path / "data")),
        NATS_URL="nats://127.0.0.1:1",
        REDIS_URL="redis://localhost",
        DB_HOST="localhost",
    )

    assert errors.splitlines()[0] == "not used by Parley: DB_HOST, REDIS_URL"


async def test_chat_without_a_gateway_is_a_sentence(tmp_path: Path) -> None:
    code, _, errors = await parley("chat", "hello", "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "no gateway runs" in errors

    code, _, errors = await parley("chat", "hello", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert errors == (
        "parley: nothing answers at http://127.0.0.1:1; `make run` or `parley up` starts Parley.\n"
    )
