"""Keys: what a service says whose key the broker does not take, and how keys and data last."""

import asyncio
import gc
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from deploy.local.broker_client import asking
from deploy.local.data_dir import DataDir
from deploy.local.errors import LauncherError
from deploy.nats.__main__ import main as write_configuration
from deploy.nats.keys import Keys
from shared.contracts import streams, subjects
from shared.contracts.identities import Identity
from shared.contracts.streams import Capacity
from shared.messaging.connection import CredentialsRefused, build_broker
from shared.messaging.jetstream import JetStream
from shared.nkey_seeds import new_seed, read_seed
from shared.settings import NatsSettings
from tests.support.nats_keys import connect, seed_file
from tests.support.nats_server import BINARY, NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

SERVICES = {
    "deploy.provisioning": Identity.PROVISIONER,
    "services.history": Identity.HISTORY,
    "services.inference_worker": Identity.WORKER,
    "services.api": Identity.GATEWAY,
}
_SEED = new_seed()
DAMAGED = _SEED[:20] + ("A" if _SEED[20] != "A" else "B") + _SEED[21:]
"""One letter of it is another one."""
# They share what they say; one of them stands for all in the quick part of the tests.
EACH = [
    module if module == "services.history" else pytest.param(module, marks=pytest.mark.slow)
    for module in SERVICES
]
WATCHED = [*EACH, pytest.param("deploy.provisioning --watch", marks=pytest.mark.slow)]


async def start(module: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module.split()),
        env={
            "PATH": os.defpath,
            "API_PORT": "0",
            "OLLAMA_BASE_URL": "http://127.0.0.1:1",
            **environment,
        },
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, errors.decode()


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A key that no broker knows."""
    path = tmp_path / "unknown.nk"
    path.write_text(new_seed())
    return path


@pytest.mark.parametrize("module", WATCHED)
async def test_a_service_whose_key_is_refused_says_so_and_ends(
    module: str, nats_server: NatsServer, unknown: Path
) -> None:
    known_as = {"NATS_URL": nats_server.url, "NATS_NKEY_SEED_FILE": str(unknown)}

    code, errors = await ended(await start(module, known_as))

    place = nats_server.url
    sentence = f"The broker at {place} refuses the key in {unknown} (NATS_NKEY_SEED_FILE)."
    assert sentence in errors
    assert "Traceback" not in errors
    assert code == (1 if module == "services.api" else 2)


@pytest.mark.parametrize("module", WATCHED)
async def test_a_service_without_a_key_says_which_setting_is_missing(
    module: str, nats_server: NatsServer
) -> None:
    code, errors = await ended(await start(module, {"NATS_URL": nats_server.url}))

    assert "asks for a key, and NATS_NKEY_SEED_FILE names none." in errors
    assert "Traceback" not in errors
    assert code == (1 if module == "services.api" else 2)


@pytest.mark.parametrize("module", EACH)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no key, or a damaged one"),
        (
            "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VX",
            "holds no key, or a damaged",
        ),
    ],
)
async def test_a_key_file_that_is_missing_or_damaged_is_a_sentence(
    module: str, content: str | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "worker.nk"
    if content is not None:
        path.write_text(content)

    code, errors = await ended(await start(module, {"NATS_NKEY_SEED_FILE": str(path)}))

    assert errors.startswith("Wrong setting: NATS_NKEY_SEED_FILE: ")
    assert problem in errors
    assert errors.count("\n") == 1
    assert not content or content not in errors
    assert code == 2


async def restarted(server: NatsServer) -> None:
    server.kill()
    await server.start()


async def reloaded(server: NatsServer) -> None:
    server.reload()


@pytest.mark.parametrize("change", [restarted, reloaded])
async def test_a_service_that_runs_is_refused_loudly_and_goes_on_once_its_key_is_known(
    nats_server: NatsServer, change: Callable[[NatsServer], Awaitable[None]]
) -> None:
    settings = NatsSettings(url=nats_server.url, nkey_seed_file=seed_file(Identity.GATEWAY))
    await restarted(nats_server)  # on the port that it has by now: a reload may not change it
    broker = build_broker(settings, Identity.GATEWAY)
    client = await broker.connect()
    with capture_logs() as said:
        nats_server.strangers = {Identity.GATEWAY}
        await change(nats_server)
        await eventually(lambda: "nats_refused" in [line["event"] for line in said])
        nats_server.strangers = set()
        await change(nats_server)
        await eventually(lambda: said[-1]["event"] == "nats_reconnected")
    (refused,) = (line for line in said if line["event"] == "nats_refused")
    assert refused["log_level"] == "error"
    assert f"refuses the key in {seed_file(Identity.GATEWAY)}" in refused["error"]
    await client.flush()
    await broker.stop()
    # A connection that somebody has dropped is found now, and fails this test.
    del broker, client
    gc.collect()


@pytest.mark.parametrize("way_in", [build_broker, asking])
async def test_who_is_refused_at_the_start_leaves_no_connection_open(
    nats_server: NatsServer, way_in: object, tmp_path: Path
) -> None:
    nats_server.strangers = {Identity.GATEWAY, Identity.OPERATOR}
    await restarted(nats_server)
    if way_in is build_broker:
        key = seed_file(Identity.GATEWAY)
        settings = NatsSettings(url=nats_server.url, nkey_seed_file=key)
        with pytest.raises(CredentialsRefused):
            await build_broker(settings, Identity.GATEWAY).connect()
    else:
        keys = seed_file(Identity.OPERATOR).parent
        with pytest.raises(LauncherError, match="does not know the operator's key"):
            async with asking(DataDir(tmp_path), nats_server.url, keys):
                pytest.fail("It was let in.")
    gc.collect()


async def test_a_test_that_fails_in_its_middle_leaves_no_connection_to_later_ones(
    tmp_path: Path,
) -> None:
    opened: list[Client] = []

    async def fails() -> None:
        async with NatsServer(tmp_path / "nats") as server:
            opened.append(await connect(server.url))
            pytest.fail("In the middle.")

    with pytest.raises(pytest.fail.Exception):
        await fails()
    assert [client.is_closed for client in opened] == [True]


async def test_a_connection_that_the_client_has_given_up_ends_the_process(tmp_path: Path) -> None:
    # nats-py does so after most errors of the server.
    begun, told = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
        while b"PING" not in await reader.readline():
            pass
        writer.write(b"PONG\r\n")
        await begun.wait()
        writer.write(b"-ERR 'Maximum Subscriptions Exceeded'\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    broker = build_broker(NatsSettings(url=f"nats://127.0.0.1:{port}"), Identity.WORKER)
    await broker.connect()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        with capture_logs() as said:
            begun.set()
            await asyncio.wait_for(told.wait(), 10)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        server.close()
    assert [line["log_level"] for line in said if line["event"] == "nats_closed"] == ["critical"]


async def test_a_permissions_violation_is_an_error_in_the_log_of_the_service(
    nats_server: NatsServer,
) -> None:
    settings = NatsSettings(url=nats_server.url, nkey_seed_file=seed_file(Identity.WORKER))
    broker = build_broker(settings, Identity.WORKER)
    client = await broker.connect()

    with capture_logs() as said:
        await client.publish(subjects.SYNC)
        await eventually(lambda: said)
    await broker.stop()

    assert [(line["event"], line["log_level"]) for line in said] == [
        ("nats_permission_violation", "error")
    ]
    assert subjects.SYNC in said[0]["error"]
    assert len(nats_server.violations()) == 1


async def test_the_data_of_a_broker_without_users_is_there_with_them(tmp_path: Path) -> None:
    store = tmp_path / "nats" / "store"
    store.mkdir(parents=True)
    old = tmp_path / "old.conf"
    old.write_text(
        f"listen: 127.0.0.1:-1\nports_file_dir: '{tmp_path}'\n"
        f"jetstream {{ store_dir: '{store}', sync_interval: always }}\n"
    )
    before = subprocess.Popen(  # noqa: ASYNC220 - a moment
        [BINARY, "-c", old], stderr=subprocess.DEVNULL
    )
    try:
        ports = tmp_path / f"nats-server_{before.pid}.ports"
        await eventually(ports.exists)
        address = ports.read_text().split('"')[3]
        client = Client()
        await client.connect(address)
        subject = subjects.dead_letters("history")
        made = {"name": streams.DEAD_LETTERS, "subjects": [subject], "storage": "file"}
        await JetStream(client).api(f"STREAM.CREATE.{streams.DEAD_LETTERS}", made)
        await JetStream(client).publish(subject, b"of before there were users")
        await client.close()
    finally:
        before.send_signal(signal.SIGTERM)
        before.wait(10)

    async with NatsServer(tmp_path / "nats") as server:
        await server.provision(Capacity())
        tester = await connect(server.url)
        info = await JetStream(tester).api(f"STREAM.INFO.{streams.DEAD_LETTERS}")
        await tester.close()
    assert info["state"]["messages"] == 1


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_their_owners_alone_and_stay(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    first = keys.ensure()
    keys.file(Identity.WORKER).chmod(0o644)
    keys.file(Identity.HISTORY).unlink()

    second = keys.ensure()

    assert len(set(first.values())) == len(Identity)
    assert {who for who in Identity if first[who] != second[who]} == {Identity.HISTORY}
    assert mode(keys.directory) == 0o700
    assert {mode(file) for file in keys.directory.iterdir()} == {0o600}
    assert len(list(keys.directory.iterdir())) == len(Identity)


def test_the_written_configuration_is_one_that_the_server_runs_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--port", "-1", "--store", str(tmp_path / "js")]

    assert write_configuration(arguments) == 0
    written = Path(capsys.readouterr().out.strip())
    text = written.read_text()
    checked = subprocess.run(
        [BINARY, "-t", "-c", written], capture_output=True, text=True, timeout=20, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert write_configuration(arguments) == 0
    assert written.read_text() == text
    seeds = [read_seed(Keys(tmp_path / "keys").file(identity)) for identity in Identity]
    assert not [seed for seed in seeds if seed in text]

    # What an administrator adds survives a new key, and holds.
    (tmp_path / "extra.conf").write_text("max_connections: 7\n")
    Keys(tmp_path / "keys").file(Identity.WORKER).unlink()
    assert write_configuration(arguments) == 0
    assert written.read_text() != text
    assert (tmp_path / "extra.conf").read_text() == "max_connections: 7\n"
    (tmp_path / "extra.conf").write_text("no such setting: {")
    broken = subprocess.run(
        [BINARY, "-t", "-c", written], capture_output=True, timeout=20, check=False
    )
    assert broken.returncode != 0

    Keys(tmp_path / "keys").file(Identity.GATEWAY).write_text("no key")
    assert write_configuration(arguments) == 2
    assert "remove it, and another is made" in capsys.readouterr().err
