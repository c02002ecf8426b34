"""Which models are loaded, as ``/api/ps`` tells it, and for how long."""

import re
import time
from dataclasses import dataclass
from typing import Any

from deploy.local.demo_engine.errors import Refused
from deploy.local.demo_engine.models import Model
from deploy.local.demo_engine.timestamps import rfc3339

DEFAULT_KEEP_ALIVE = 300.0
FOR_EVER = 10.0 * 365 * 86400
"""Seconds that stand for "never unloaded"."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def keep_alive_seconds(value: float | str | None) -> float:
    """Seconds that a model stays loaded; a negative duration is for ever.

    Raises:
        Refused: ``value`` is not a duration as Go writes it, such as "1h30m".
    """
    if value is None:
        return DEFAULT_KEEP_ALIVE
    seconds = _duration(value) if isinstance(value, str) else float(value)
    return FOR_EVER if seconds < 0 else seconds


def _duration(text: str) -> float:
    bare = text.removeprefix("-")
    parts = _PART.findall(bare)
    if (bare != "0" and "".join(number + unit for number, unit in parts) != bare) or not bare:
        raise Refused(400, f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds


@dataclass(frozen=True)
class _Loaded:
    model: Model
    window: int
    expires_at: float


class Residency:
    """The loaded models. Nothing is really loaded, so loading takes no time."""

    def __init__(self) -> None:
        self._loaded: dict[str, _Loaded] = {}

    def use(self, model: Model, window: int, keep_alive: float) -> None:
        """``model`` is loaded with ``window`` tokens of context, for ``keep_alive`` seconds."""
        self._loaded[model.name] = _Loaded(model, window, time.time() + keep_alive)

    def unload(self, model: Model) -> None:
        """``model`` is not loaded any more."""
        self._loaded.pop(model.name, None)

    def ps(self) -> list[dict[str, Any]]:
        """The loaded models, the one that stays longest first."""
        now = time.time()
        loaded = [entry for entry in self._loaded.values() if entry.expires_at > now]
        loaded.sort(key=lambda entry: entry.expires_at, reverse=True)
        return [
            {
                "name": entry.model.full_name,
                "model": entry.model.full_name,
                "size": entry.model.size,
                "digest": entry.model.digest,
                "details": entry.model.details(),
                "expires_at": rfc3339(int(entry.expires_at * 1e9)),
                "size_vram": entry.model.size,
                "context_length": entry.window,
            }
            for entry in loaded
        ]
