"""What a process of the topology is: plain data, nothing started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from shared.observability.logging import READY


@dataclass(frozen=True, slots=True)
class Printed:
    """Ready when a line of output contains ``event``."""

    event: str = READY


@dataclass(frozen=True, slots=True)
class TcpAccepts:
    """Ready when ``host:port`` accepts a connection."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NatsAnswers:
    """Ready when the server at ``host:port`` introduces itself as NATS and answers a ping."""

    host: str
    port: int
    key_file: Path | None = None
    """With the key to show it."""


@dataclass(frozen=True, slots=True)
class HttpOk:
    """Ready when GET ``url`` answers 200."""

    url: str


@dataclass(frozen=True, slots=True)
class ExitsZero:
    """A step rather than a server: done when it has ended with exit code 0."""


Readiness = Printed | TcpAccepts | NatsAnswers | HttpOk | ExitsZero


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process that the launcher starts, watches and stops."""

    name: str
    argv: tuple[str, ...]
    readiness: Readiness
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the child, not an addition to the launcher's."""
    url: str | None = None
    ready_timeout: timedelta = timedelta(seconds=20)
    grace: timedelta = timedelta(seconds=10)
    """Time between the polite signal and the kill."""
    remove_first: Path | None = None
    """A file that a killed predecessor may have left and that would stop a new start."""


@dataclass(frozen=True, slots=True)
class External:
    """A server the user runs; the launcher uses it and never touches it."""

    name: str
    url: str


Part = ChildSpec | External
Stage = tuple[ChildSpec, ...]
"""Children that may start and stop side by side."""
