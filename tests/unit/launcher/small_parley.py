"""A launcher whose topology the test gives: ``small_parley.py DATA_DIR '[[{"name": "nats"}], …]'``.

``nats`` and ``mongo`` are the real servers; every other child runs the Python code of its ``code``.
"""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.local.addresses import Addresses
from deploy.local.data_dir import DataDir
from deploy.local.errors import LauncherError
from deploy.local.launch import Voice, launch
from deploy.local.mongo_server import mongo_server
from deploy.local.nats_server import nats_server
from deploy.local.settings import read_environment
from deploy.local.spec import ChildSpec, Printed
from deploy.local.topology import Topology

PATIENCE = timedelta(seconds=20)


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def spec(data: DataDir, addresses: Addresses, child: dict[str, Any]) -> ChildSpec:
    """What the test asked for."""
    env = {**read_environment(), "PYTHONUNBUFFERED": "1"}
    name = child["name"]
    if name == "nats":
        port = addresses.choose("nats")
        return nats_server(data.nats, port, env=env, ready_timeout=PATIENCE, grace=PATIENCE)
    if name == "mongo":
        port = addresses.choose("mongo")
        return mongo_server(data.mongo, port, env=env, ready_timeout=PATIENCE, grace=PATIENCE)
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-c", child["code"], name, str(data.root)),
        env=env,
        readiness=Printed(),
        grace=timedelta(seconds=child.get("grace", 20)),
    )


def main() -> None:
    """Run until told to stop."""
    data = DataDir(Path(sys.argv[1]))
    asked = json.loads(sys.argv[2])

    async def prepare() -> Topology:
        addresses = await asyncio.to_thread(Addresses, data.run / "ports.json")
        stages = tuple(tuple(spec(data, addresses, child) for child in stage) for stage in asked)
        return Topology(stages, (), "http://127.0.0.1:1")

    try:
        launch(data, Voice(result=say, notice=say), prepare)
    except LauncherError as error:
        for line in (*error.details, str(error)):
            say(line)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
