"""Keys of a running Parley: made once, nobody else's, and nowhere to be seen."""

import shutil
import stat
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from deploy.local.nats_server import keys_of
from shared.contracts.identities import Identity
from shared.nkey_seeds import read_seed
from tests.support.nats_keys import known_keys
from tests.support.nats_server import NatsServer
from tests.support.stack import Stack

pytestmark = pytest.mark.e2e

SERVICES = {
    "provision": Identity.PROVISIONER,
    "history": Identity.HISTORY,
    "worker": Identity.WORKER,
    "gateway": Identity.GATEWAY,
}


def seeds(stack: Stack) -> dict[Identity, str]:
    keys = keys_of(stack.data_dir / "nats")
    return {identity: read_seed(keys.file(identity)) for identity in Identity}


def kept(stack: Stack) -> str:
    """All that stands in files which are not keys."""
    files = (path for path in stack.data_dir.rglob("*") if path.is_file() and path.suffix != ".nk")
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def seen_by_the_system(pid: int) -> str:
    """The arguments and the environment of a process, as other programs may list them."""
    parts = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    return b"\0".join(parts).decode(errors="replace")


async def says(stack: Stack, text: str) -> bool:
    async with stack.client() as http:
        body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
        return (await http.post("/v1/chat/completions", json=body)).status_code == 200


async def test_each_part_has_its_own_key_which_stands_in_no_log_and_no_environment(
    tmp_path: Path,
) -> None:
    async with Stack(tmp_path / "data") as stack:
        assert await says(stack, "[demo tps=0] hello")
        secrets = seeds(stack)
        assert len(set(secrets.values())) == len(Identity)
        for process in await stack.ps():
            seen = seen_by_the_system(process["pid"])
            assert not [seed for seed in secrets.values() if seed in seen]
            for name, identity in SERVICES.items():
                if process["name"].startswith(name):
                    assert f"NATS_NKEY_SEED_FILE={stack.data_dir}/nats/keys/{identity}.nk" in seen
        anybody = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await anybody.connect(await stack.address("nats"), allow_reconnect=False)
        await anybody.close()

    lines = "\n".join([*stack.lines, kept(stack)])
    assert not [seed for seed in secrets.values() if seed in lines]
    directory = stack.data_dir / "nats" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


@pytest.mark.slow
async def test_keys_survive_a_restart_and_a_broker_that_has_lost_its_store(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data") as first:
        before = seeds(first)
    shutil.rmtree(tmp_path / "data" / "nats" / "store")

    async with Stack(tmp_path / "data") as second:
        assert seeds(second) == before
        assert await says(second, "[demo tps=0] again")


@pytest.mark.slow
async def test_a_damaged_key_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data"):
        pass
    key = tmp_path / "data" / "nats" / "keys" / "worker.nk"
    key.write_text("SUnothing\n")

    stack = Stack(tmp_path / "data")
    with pytest.raises(AssertionError):
        await stack.start()

    assert stack.lines == [
        f"parley: the file {key} holds no key, or a damaged one; "
        "remove it, and the next start makes another."
    ]
    key.unlink()
    async with Stack(tmp_path / "data") as mended:
        assert await says(mended, "[demo tps=0] hello")


@pytest.mark.slow
async def test_a_broker_of_the_users_own_is_used_with_the_keys_that_were_made_for_it(
    tmp_path: Path,
) -> None:
    async with NatsServer(tmp_path / "broker") as broker:
        directory = known_keys().directory
        environment = {"NATS_URL": broker.url, "NATS_KEYS_DIR": str(directory)}
        async with Stack(tmp_path / "data", environment=environment) as stack:
            assert await says(stack, "[demo tps=0] hello")

        environment["NATS_KEYS_DIR"] = str(tmp_path)
        stack = Stack(tmp_path / "data", environment=environment)
        with pytest.raises(AssertionError):
            await stack.start()
    missing = tmp_path / f"{Identity.PROVISIONER}.nk"
    assert stack.lines[-1] == (
        f"parley: NATS_KEYS_DIR: the key file {missing} cannot be read: No such file or directory."
    )
