"""Servers that the user runs: is somebody there at all?"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from deploy.local.errors import LauncherError, WrongSetting
from deploy.local.readiness import tcp_accepts
from deploy.local.registry import without_secrets
from deploy.local.spec import External

_PORTS: Final = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443, "mongodb": 27017}


async def reachable(name: str, url: str, setting: str) -> External:
    """``url`` as a part of the topology, once one of its hosts accepts connections.

    Raises:
        LauncherError: none does; the sentence names ``setting``.
    """
    try:
        hosts = hosts_of(url)
    except ValueError:
        sentence = f"{setting}: its host or port cannot be read."
        raise WrongSetting(sentence) from None
    # An empty list: the hosts are known to the name service only (mongodb+srv).
    if hosts and not any(await asyncio.gather(*(tcp_accepts(*host) for host in hosts))):
        sentence = (
            f"nobody answers at {shown(url)} ({setting}); start it, "
            f"or unset {setting} so that Parley starts its own."
        )
        raise LauncherError(sentence)
    return External(name, url)


def hosts_of(url: str) -> tuple[tuple[str, int], ...]:
    """Host and port of each server in ``url``.

    NATS lists whole addresses by commas, MongoDB lists hosts inside one address.

    Raises:
        ValueError: a port is no port.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _PORTS:
        return ()
    if scheme == "mongodb":
        authority = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
        addresses = [f"//{host}" for host in authority.split(",")]
    else:
        addresses = [address.strip() for address in url.split(",")]
    parsed = [urlsplit(address) for address in addresses]
    return tuple((p.hostname or "127.0.0.1", p.port or _PORTS[scheme]) for p in parsed)


def shown(url: str) -> str:
    """``url`` as it may be shown on a terminal."""
    return without_secrets(url) or url
