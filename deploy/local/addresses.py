"""Ports on this machine: the user's own choice is a demand, ours is remembered."""

from __future__ import annotations

import errno
import json
import socket
import zlib
from pathlib import Path
from typing import Final

from deploy.local.errors import LauncherError, PortTaken

LOOPBACK: Final = "127.0.0.1"

# Below the range from which systems number outgoing connections (Linux from 32768, macOS from
# 49152): a client that keeps trying a port of that range while its server restarts can connect to
# itself and so hold the port.
_FIRST: Final = 20_000
_COUNT: Final = 7_000


class Addresses:
    """Ports chosen once for a data directory and used again at every start.

    The first choice follows from the directory's name, so that two installations that start at
    the same moment look at different ports, and neither meets a standard NATS or MongoDB.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports = _read(path)
        self._given: set[int] = set()

    def choose(self, name: str, host: str = LOOPBACK) -> int:
        """The remembered port of ``name``, or a new one when that is taken now.

        Raises:
            LauncherError: no port is free.
        """
        if problem := why_not(host, 0):
            sentence = f"a port on {host} {problem}."
            raise LauncherError(sentence)
        start = zlib.crc32(f"{self._path}#{name}".encode()) % _COUNT
        candidates = [_FIRST + (start + step) % _COUNT for step in range(_COUNT)]
        if name in self._ports:
            candidates.insert(0, self._ports[name])
        for port in candidates:
            if port not in self._given and why_not(host, port) is None:
                self._given.add(port)
                self._ports[name] = port
                self._path.write_text(json.dumps(self._ports))
                return port
        sentence = f"no free port for {name} on {host}."
        raise LauncherError(sentence)

    def require(self, host: str, port: int, flag: str) -> int:
        """``port`` itself.

        Raises:
            PortTaken: it cannot be listened on; the sentence names ``flag``.
        """
        problem = why_not(host, port)
        if problem or port in self._given:
            sentence = (
                f"port {port} on {host} {problem or 'is needed twice'}; "
                f"give {flag} another one, or 0 for any free one."
            )
            raise PortTaken(sentence)
        self._given.add(port)
        return port


def why_not(host: str, port: int) -> str | None:
    """Why nobody can listen on ``host:port`` now; ``None`` when it is free."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: connections that linger in TIME_WAIT are no reason.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except (socket.gaierror, UnicodeError):
        return "cannot be used, because this machine does not know that host (--host)"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is taken by another program"
        return f"cannot be used ({error.strerror})"
    return None


def _read(path: Path) -> dict[str, int]:
    try:
        return {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}
