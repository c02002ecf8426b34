"""What runs on a data directory now, as ``parley ps`` and ``parley chat`` ask it."""

from __future__ import annotations

from deploy.local import registry
from deploy.local.data_dir import DataDir
from deploy.local.errors import LauncherError


def processes(data: DataDir) -> tuple[registry.Entry, ...]:
    """Every process and server of the running installation; empty when none runs."""
    # The file alone proves nothing: a launcher that was killed leaves it behind.
    return registry.read(data.processes) if data.is_locked() else ()


def gateway(data: DataDir) -> str:
    """The address of the first gateway.

    Raises:
        LauncherError: none runs.
    """
    for entry in processes(data):
        if entry.name.startswith("gateway") and entry.url:
            return entry.url
    sentence = (
        f"no gateway runs on {data.root}; `make run` or `parley up` starts one, "
        "and --url names one elsewhere."
    )
    raise LauncherError(sentence)
