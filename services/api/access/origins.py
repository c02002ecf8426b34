"""Which names this gateway answers to, and which web pages may use it.

A page of another site can send requests here with the visitor's browser. ``Origin`` says which
page it was. A page that makes its own name point to this address (DNS rebinding) is of the same
origin for the browser, but then its name stands in ``Host``.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from services.api.access.refusals import WrongHost, WrongOrigin

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_PORTS: Final = {"http": 80, "https": 443}

Headers = Iterable[tuple[bytes, bytes]]


class Origins:
    """The two allow-lists, for HTTP and for sockets."""

    def __init__(self, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
        """Describe them.

        Args:
            hosts: Names besides those of the loopback address, without ports; ``*.example.com``
                stands for all names below ``example.com``.
            origins: Pages of other hosts that may use this gateway: ``https://chat.example.com``.
        """
        names = {host.lower().strip("[]") for host in (*LOOPBACK_NAMES, *hosts)}
        self._hosts = {name for name in names if not name.startswith("*")}
        self._below = tuple(name[1:] for name in names if name.startswith("*."))
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    def check_host(self, headers: Headers) -> None:
        """Go on with a request to a name of this gateway's.

        Raises:
            WrongHost: it is for another one, for none or for two.
        """
        hosts = [value for name, value in headers if name == b"host"]
        name = _name(hosts[0]) if len(hosts) == 1 else None
        if name is None or not (name in self._hosts or name.endswith(self._below)):
            message = "This gateway does not answer to this Host; API_ALLOWED_HOSTS names more."
            raise WrongHost(message)

    def check_origin(self, headers: Headers) -> None:
        """Go on with what no web page asks, one of this host, or a listed one.

        Raises:
            WrongOrigin: another page asks.
        """
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return
        hosts = [value for name, value in headers if name == b"host"]
        origin = origins[0].decode("latin-1").rstrip("/").lower()
        known = origin in self._origins or _is_same(origin, hosts[0] if hosts else b"")
        if len(origins) > 1 or not known:
            message = "This page may not use this gateway; API_CORS_ORIGINS names those that may."
            raise WrongOrigin(message)


def _name(host: bytes) -> str | None:
    try:
        parts = urlsplit(f"//{host.decode('latin-1')}")
        _ = parts.port  # raises ValueError on one that is none
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def _is_same(origin: str, host: bytes) -> bool:
    """Whether the page is of this host.

    The port counts, with the scheme's own one where there is none: another server on the same
    machine is another site. Whether the scheme is ours only the proxy knows that ends TLS.
    """
    try:
        page = urlsplit(origin)
        here = urlsplit(f"//{host.decode('latin-1').lower()}")
        default = _PORTS.get(page.scheme)
        if default is None or page.hostname is None or page.path or page.username is not None:
            return False
        same = (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False
    return same
