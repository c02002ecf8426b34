"""The database: a ``mongod`` of the user's, or MongoDB's wire protocol on SQLite (nx-27017)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local.addresses import LOOPBACK
from deploy.local.errors import LauncherError, MissingPart
from deploy.local.spec import ChildSpec, TcpAccepts

_EMBEDDED: Final = "from nx_27017.nx_27017 import main; main()"


def mongo_server(
    directory: Path,
    port: int,
    *,
    env: Mapping[str, str],
    ready_timeout: timedelta,
    grace: timedelta,
) -> ChildSpec:
    """The spec of a server that keeps its data under ``directory``.

    Data that is there decides which server it is, so that a ``mongod`` which is installed one day
    does not hide what was written before.

    Raises:
        LauncherError: the data belongs to a ``mongod`` that is gone.
        MissingPart: neither server is installed.
    """
    files = directory / "mongod"
    sqlite = directory / "parley.db"
    mongod = shutil.which("mongod", path=env.get("PATH"))
    if files.is_dir() and mongod is None:
        sentence = (
            f"the data in {files} was written by mongod, which is not on the PATH any more; "
            "install it again, set MONGODB_URL, or give --data-dir another directory."
        )
        raise LauncherError(sentence)
    if mongod is not None and not sqlite.exists():
        files.mkdir(mode=0o700, exist_ok=True)
        argv = _mongod(mongod, files, port)
        pid_file = None
    else:
        pid_file = directory / "nx-27017.pid"
        argv = _embedded(sqlite, pid_file, port)
    return ChildSpec(
        name="mongo",
        argv=argv,
        env=env,
        url=f"mongodb://{LOOPBACK}:{port}",
        readiness=TcpAccepts(LOOPBACK, port),
        ready_timeout=ready_timeout,
        grace=grace,
        remove_first=pid_file,
    )


def _mongod(binary: str, files: Path, port: int) -> tuple[str, ...]:
    return (
        *(binary, "--dbpath", str(files), "--nounixsocket"),
        *("--bind_ip", LOOPBACK, "--port", str(port)),
    )


def _embedded(sqlite: Path, pid_file: Path, port: int) -> tuple[str, ...]:
    if importlib.util.find_spec("nx_27017") is None:
        raise MissingPart(
            "no database is installed: run `make setup` or `pip install 'parley[local]'`, "
            "put a mongod on the PATH, or set MONGODB_URL."
        )
    return (
        # Not ``-m``: the package imports its own main module first, and Python warns about that.
        *(sys.executable, "-P", "-c", _EMBEDDED),
        *("--host", LOOPBACK, "--port", str(port), "--db", str(sqlite)),
        # Its defaults are fixed names in /tmp: a second server would refuse to start. It keeps a
        # live pid it finds there for a running server, hence ``remove_first``.
        *("--pid-file", str(pid_file), "--log-file", os.devnull),
    )
