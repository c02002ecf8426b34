"""Ports that are chosen, remembered and refused."""

import socket
from pathlib import Path

import pytest

from deploy.local.addresses import Addresses, why_not
from deploy.local.errors import LauncherError, PortTaken


def listener(port: int = 0) -> socket.socket:
    taken = socket.create_server(("127.0.0.1", port))
    taken.listen()
    return taken


def test_a_port_is_chosen_once_and_found_again(tmp_path: Path) -> None:
    port = Addresses(tmp_path / "ports.json").choose("nats")

    assert Addresses(tmp_path / "ports.json").choose("nats") == port
    assert why_not("127.0.0.1", port) is None


def test_a_host_that_can_be_none_is_said_to_be_unknown() -> None:
    assert "does not know that host" in (why_not("no..host", 8000) or "")


def test_ports_lie_below_those_of_outgoing_connections(tmp_path: Path) -> None:
    assert 20_000 <= Addresses(tmp_path / "ports.json").choose("nats") < 32_768


def test_a_remembered_port_that_is_taken_now_is_replaced(tmp_path: Path) -> None:
    port = Addresses(tmp_path / "ports.json").choose("nats")

    with listener(port):
        other = Addresses(tmp_path / "ports.json").choose("nats")

    assert other != port


def test_no_port_is_given_twice(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path / "ports.json")

    chosen = [addresses.choose(f"gateway-{number}") for number in range(20)]

    assert len(set(chosen)) == 20
    with pytest.raises(PortTaken, match="needed twice"):
        addresses.require("127.0.0.1", chosen[0], "--port")


def test_a_broken_memory_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('["no"')

    assert Addresses(tmp_path / "ports.json").choose("nats")


def test_a_demanded_port_that_is_taken_is_refused_with_its_number_and_flag(tmp_path: Path) -> None:
    with listener() as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTaken, match=rf"port {port} .* is taken .* --port"):
            Addresses(tmp_path / "ports.json").require("127.0.0.1", port, "--port")


def test_a_host_that_is_not_this_machine_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="cannot be used"):
        Addresses(tmp_path / "ports.json").choose("gateway-1", "192.0.2.1")
