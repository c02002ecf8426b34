"""The specs of brokers, databases and engines, and how one service is run."""

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local import services
from deploy.local.errors import LauncherError, MissingPart
from deploy.local.external import hosts_of
from deploy.local.mongo_server import mongo_server
from deploy.local.nats_server import configuration
from deploy.local.readiness import how_it_ended
from deploy.local.services import Service
from deploy.local.spec import ChildSpec

SECOND = timedelta(seconds=1)


def mongo(directory: Path, path: Path) -> ChildSpec:
    env = {"PATH": str(path)}
    return mongo_server(directory, 4000, env=env, ready_timeout=SECOND, grace=SECOND)


@pytest.fixture
def mongod(tmp_path: Path) -> Path:
    """A directory for the PATH that holds a mongod."""
    binary = tmp_path / "bin" / "mongod"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    return binary.parent


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A directory for the PATH that holds nothing."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "mongo").mkdir()
    return tmp_path / "mongo"


def test_the_broker_is_configured_for_loopback_and_for_durability(tmp_path: Path) -> None:
    odd = tmp_path / 'odd "name"'
    odd.mkdir()
    text = configuration(odd, 4222)

    assert 'listen: "127.0.0.1:4222"' in text
    assert "sync_interval: always" in text
    assert "max_payload: 8MB" in text
    assert 'odd \\"name\\"' in text


def test_a_mongod_on_the_path_is_the_database(files: Path, mongod: Path) -> None:
    argv = mongo(files, mongod).argv

    assert argv[0] == str(mongod / "mongod")
    assert argv[argv.index("--bind_ip") + 1] == "127.0.0.1"


def test_without_a_mongod_the_embedded_server_is(files: Path, empty: Path) -> None:
    spec = mongo(files, empty)

    assert str(files / "parley.db") in spec.argv
    assert spec.remove_first == files / "nx-27017.pid"
    assert spec.url == "mongodb://127.0.0.1:4000"


def test_a_mongod_that_is_installed_later_does_not_hide_yesterdays_data(
    files: Path, mongod: Path
) -> None:
    (files / "parley.db").touch()

    assert str(files / "parley.db") in mongo(files, mongod).argv


def test_a_mongod_that_is_gone_with_data_of_its_own_stops_the_start(
    files: Path, mongod: Path, empty: Path
) -> None:
    mongo(files, mongod)

    with pytest.raises(LauncherError, match="written by mongod"):
        mongo(files, empty)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("nats://localhost", (("localhost", 4222),)),
        ("nats://u:p@a:1,nats://u:p@b", (("a", 1), ("b", 4222))),
        ("mongodb://u:p@a,b:2/db?x=1", (("a", 27017), ("b", 2))),
        ("mongodb://[::1]:3", (("::1", 3),)),
        ("mongodb+srv://cluster.example", ()),
    ],
)
def test_the_hosts_of_an_address(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert hosts_of(url) == hosts


def test_how_a_child_ended_in_words() -> None:
    assert how_it_ended(0) == "ended with exit code 0"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(-200) == "was killed by signal 200"


def test_a_missing_package_names_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy_service.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(services.SERVICES, "history", Service("needy_service", "history"))

    with pytest.raises(MissingPart, match=r"a_package_nobody_has.*parley\[history\]") as failure:
        services.run("history")

    assert failure.value.exit_code == 2


def test_an_unknown_service_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main(["sorcery"]) == 2
    assert capsys.readouterr().err == "there is no service 'sorcery'.\n"
