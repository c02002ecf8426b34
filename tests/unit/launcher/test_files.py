"""What the launcher keeps in the data directory."""

import os
import stat
from pathlib import Path

import pytest

from deploy.local import registry, running
from deploy.local.data_dir import DataDir
from deploy.local.errors import AlreadyRunning, LauncherError
from deploy.local.output import Lines, LogFile, Output
from deploy.local.registry import Registry, without_secrets
from deploy.local.spec import External


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path / "data")
    data.create()
    return data


def test_directories_are_the_users_alone(data: DataDir) -> None:
    for directory in (data.root, data.nats, data.mongo, data.run, data.logs):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LauncherError, match=r"cannot be used \(--data-dir\)"):
        DataDir(tmp_path / "file").create()


def test_a_second_launcher_is_told_the_pid_of_the_first(data: DataDir) -> None:
    with (
        data.locked(),
        pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"),
        data.locked(),
    ):
        pass


def test_the_lock_is_free_again_afterwards(data: DataDir) -> None:
    assert not data.is_locked()
    with data.locked():
        assert data.is_locked()
    assert not data.is_locked()
    with data.locked():
        pass


def test_asking_what_runs_on_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LauncherError, match=r"file cannot be read \(--data-dir\)"):
        running.processes(DataDir(tmp_path / "file"))


def test_the_registry_lists_children_and_servers_of_the_user(data: DataDir) -> None:
    listed = Registry(data.processes, [External("nats", "nats://me:secret@host:4222")])
    listed.started("gateway-1", os.getpid(), "http://127.0.0.1:8000")

    entries = registry.read(data.processes)

    assert [(e.name, e.pid, e.url) for e in entries] == [
        ("nats", None, "nats://host:4222"),
        ("gateway-1", os.getpid(), "http://127.0.0.1:8000"),
    ]


def test_a_restart_replaces_the_entry(data: DataDir) -> None:
    listed = Registry(data.processes)
    listed.started("worker-1", os.getppid(), None)
    listed.started("worker-1", os.getpid(), None)

    assert [e.pid for e in registry.read(data.processes)] == [os.getpid()]


def test_what_a_killed_launcher_left_is_not_taken_for_running(data: DataDir) -> None:
    Registry(data.processes).started("gateway-1", os.getpid(), "http://127.0.0.1:8000")

    assert running.processes(data) == ()
    with pytest.raises(LauncherError, match="no gateway runs"):
        running.gateway(data)
    with data.locked():
        assert running.gateway(data) == "http://127.0.0.1:8000"


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"who": 1}]', "{}"])
def test_a_broken_registry_lists_nothing(data: DataDir, text: str) -> None:
    data.processes.write_text(text)

    assert registry.read(data.processes) == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, None),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("mongodb://me:p,w@a,b:1/db?x=y", "mongodb://a,b:1/db?x=y"),
        ("nats://t0ken@a,nats://u:p@b", "nats://a,nats://b"),
        ("nats://u:p@ss/w0rd@a, nats://u:p@b", "nats://a, nats://b"),
        ("mongodb://me:p/w@a,b:1", "mongodb://a,b:1"),
    ],
)
def test_secrets_in_addresses_are_not_listed(url: str | None, shown: str | None) -> None:
    assert without_secrets(url) == shown


def read_lines(*pieces: bytes) -> list[str]:
    lines = Lines()
    read = [line for piece in pieces for line in lines.feed(piece)]
    return [*read, *lines.end()]


def test_output_is_read_by_lines_however_it_arrives() -> None:
    assert read_lines(b"on", b"e\ntw", b"o\r\n\xff\nthree") == ["one", "two", "\ufffd", "three"]


def test_an_endless_line_comes_in_pieces() -> None:
    lines = read_lines(*[b"x" * 1000] * 300)

    assert len(lines) > 1
    assert sum(map(len, lines)) == 300_000


def test_a_log_file_that_grows_too_large_makes_room(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", largest=10)
    for line in ("first line", "second"):
        log.write(line)
    log.close()

    assert (tmp_path / "a.log.1").read_text() == "first line\n"
    assert (tmp_path / "a.log").read_text() == "second\n"


def test_the_last_words_are_kept_and_echoed_with_the_name(tmp_path: Path) -> None:
    echoed: list[str] = []
    output = Output("nats", LogFile(tmp_path / "nats.log"), echoed.append)
    for number in range(20):
        output.take(f"line {number}")
    output.take("   ")
    output.close()

    assert output.tail == tuple(f"line {number}" for number in range(10, 20))
    assert echoed[0].split() == ["nats", "|", "line", "0"]
    assert len((tmp_path / "nats.log").read_text().splitlines()) == 21
