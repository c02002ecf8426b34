"""From where a request comes, past the proxies that are trusted to say so."""

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from shared.contracts.api_keys import ANONYMOUS
from shared.contracts.ids import UserId

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SITE: Final = 64
"""Bits of an IPv6 address that name a customer; the rest are its own to choose."""
_NOWHERE: Final = "unknown"


class ClientAddresses:
    """Reads ``X-Forwarded-For`` from the right, as far as trusted proxies have written it."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """Describe it; without ``trusted`` proxies, that header is never believed."""
        self._trusted = trusted

    def of(self, peer: str | None, forwarded: Iterable[bytes]) -> str:
        """The address of the client.

        Args:
            peer: Who has connected.
            forwarded: The values of ``X-Forwarded-For``, in their order.
        """
        address = _parse(peer or "")
        if address is None:
            return _NOWHERE
        hops = [hop for value in forwarded for hop in value.decode("latin-1").split(",")]
        while hops and self._is_trusted(address):
            # What cannot be read was not written by a proxy of ours: who has passed it on counts.
            before = _parse(hops.pop())
            if before is None:
                break
            address = before
        return str(address)

    def _is_trusted(self, address: _Address) -> bool:
        return any(
            address in network for network in self._trusted if network.version == address.version
        )


def site_of(address: str) -> str:
    """Where one customer may be: an IPv4 address, or a site of IPv6."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _SITE), strict=False))
    return address


def anonymous_id(address: str) -> UserId:
    """Who has no token is known by this: one for each IPv4 address, or each site of IPv6."""
    digest = hashlib.sha256(site_of(address).encode()).hexdigest()
    return UserId(f"{ANONYMOUS}{digest[:24]}")


def _parse(text: str) -> _Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address
