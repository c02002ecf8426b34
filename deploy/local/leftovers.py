"""Stop children that outlived a launcher which was killed.

On Linux the kernel does this (``child.py``); elsewhere they live until the next start on the same
data directory. The caller holds the directory's lock, so none of them has a launcher any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from deploy.local import registry

_CLOCK_STEP: Final = 1.0
"""Seconds by which a birth may seem to move when the machine's clock is set."""
_GRACE: Final = 5.0


def stop_leftovers(processes: Path) -> tuple[str, ...]:
    """Stop what a killed launcher recorded in ``processes`` and left running; return the names."""
    found = {e.name: p for e in registry.read(processes) if (p := _same_process(e))}
    for process in found.values():
        _send(process.terminate)
    _, alive = psutil.wait_procs(list(found.values()), timeout=_GRACE)
    for process in alive:
        _send(process.kill)
    psutil.wait_procs(alive, timeout=_GRACE)
    processes.unlink(missing_ok=True)
    return tuple(found)


def _same_process(entry: registry.Entry) -> psutil.Process | None:
    if entry.pid is None or entry.created is None:
        return None
    birth = registry.created(entry.pid)
    if birth is None or abs(birth - entry.created) > _CLOCK_STEP:
        return None
    try:
        return psutil.Process(entry.pid)
    except psutil.NoSuchProcess:
        return None


def _send(signal_method: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.Error):
        signal_method()
