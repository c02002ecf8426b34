"""What runs, in which order, with which environment: data and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local.spec import (
    ChildSpec,
    ExitsZero,
    External,
    HttpOk,
    Part,
    Printed,
    Readiness,
    Stage,
)
from deploy.nats.keys import Keys
from shared.contracts.identities import Identity

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_IDENTITIES: Final = {
    "provision": Identity.PROVISIONER,
    "history": Identity.HISTORY,
    "worker": Identity.WORKER,
    "api": Identity.GATEWAY,
    "check": Identity.GATEWAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for, with everything found out that had to be found out."""

    nats: Part
    mongo: Part
    engines: tuple[Part, ...]
    host: str
    gateway_ports: tuple[int, ...]
    workers: int
    """For each engine."""
    environment: Mapping[str, str]
    data_dir: Path
    ready_timeout: timedelta
    stop_grace: timedelta
    drain_grace: timedelta
    web_dist: Path | None = None
    nats_keys: Keys | None = None
    """Of every service; without them the user's environment says what the broker wants."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Stages start in this order and stop in reverse; externals are only named."""

    stages: tuple[Stage, ...]
    externals: tuple[External, ...]
    url: str


def topology(request: Request) -> Topology:
    """The whole of Parley on one machine."""
    foundation: tuple[Part, ...] = (request.nats, request.mongo, *request.engines)
    stages = (
        (*(part for part in foundation if isinstance(part, ChildSpec)), _check(request)),
        (_service(request, "provision-once", "provision", readiness=ExitsZero()),),
        (
            _service(request, "provision", "provision", "--watch"),
            _service(request, "history", "history"),
        ),
        tuple(_workers(request)),
        tuple(_gateways(request)),
    )
    return Topology(
        stages=tuple(stage for stage in stages if stage),
        externals=tuple(part for part in foundation if isinstance(part, External)),
        url=gateway_url(request.host, request.gateway_ports[0]),
    )


def gateway_url(host: str, port: int) -> str:
    """The address at which a browser on this machine reaches a gateway."""
    reachable = _EVERYWHERE.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _check(request: Request) -> ChildSpec:
    # Beside what takes time anyway: a setting of what starts last is refused within a second.
    first = {
        "API_HOST": request.host,
        "API_PORT": str(request.gateway_ports[0]),
        # Each worker is given one engine.
        "OLLAMA_BASE_URL": request.engines[0].url or "",
    }
    return _service(request, "settings", "check", extra=first, readiness=ExitsZero())


def _workers(request: Request) -> Sequence[ChildSpec]:
    urls = [engine.url or "" for engine in request.engines for _ in range(request.workers)]
    return [
        _service(
            request,
            f"worker-{number}",
            "worker",
            extra={"OLLAMA_BASE_URL": url},
            grace=request.drain_grace,
        )
        for number, url in enumerate(urls, start=1)
    ]


def _gateways(request: Request) -> Sequence[ChildSpec]:
    web = {"API_WEB_DIST": str(request.web_dist)} if request.web_dist else {}
    specs = []
    for number, port in enumerate(request.gateway_ports, start=1):
        url = gateway_url(request.host, port)
        specs.append(
            _service(
                request,
                f"gateway-{number}",
                "api",
                extra={"API_HOST": request.host, "API_PORT": str(port), **web},
                readiness=HttpOk(f"{url}/readyz"),
                url=url,
                grace=request.drain_grace,
            )
        )
    return specs


def _service(
    request: Request,
    name: str,
    *command: str,
    extra: Mapping[str, str] | None = None,
    readiness: Readiness | None = None,
    url: str | None = None,
    grace: timedelta | None = None,
) -> ChildSpec:
    return ChildSpec(
        name=name,
        # -P: what lies in the directory that the user is in must not pass for a part of Parley.
        argv=(sys.executable, "-P", "-m", "deploy.local.services", *command),
        env={
            **_defaults(request),
            **request.environment,
            **_facts(request),
            **_key(request, command[0]),
            **(extra or {}),
        },
        readiness=readiness or Printed(),
        url=url,
        ready_timeout=request.ready_timeout,
        grace=grace or request.stop_grace,
    )


def _key(request: Request, command: str) -> dict[str, str]:
    if request.nats_keys is None:
        return {}
    return {"NATS_NKEY_SEED_FILE": str(request.nats_keys.file(_IDENTITIES[command]))}


def _defaults(request: Request) -> dict[str, str]:
    """What the user's environment may override."""
    defaults = {"HISTORY_DATABASE": "parley"}
    if request.host in _LOOPBACK:
        # On any other address a gateway refuses it, and whoever starts it has to choose.
        defaults["API_AUTH"] = "local"
    return defaults


def _facts(request: Request) -> dict[str, str]:
    """What the launcher knows better than the user's environment."""
    return {
        "NATS_URL": request.nats.url or "",
        "MONGODB_URL": request.mongo.url or "",
        "OLLAMA_BASE_URL": ",".join(engine.url or "" for engine in request.engines),
        "PARLEY_DATA_DIR": str(request.data_dir),
    }
