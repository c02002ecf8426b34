"""Everything that the gateway asks before it lets somebody in, together."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from services.api.access.addresses import ClientAddresses
from services.api.access.departures import Departures
from services.api.access.identity import Identity
from services.api.access.origins import Origins
from services.api.access.presence import Presence
from services.api.access.refusal_log import RefusalLog


@dataclass(frozen=True)
class GatewayAccess:
    """One for each gateway."""

    origins: Origins
    addresses: ClientAddresses
    identity: Identity
    presence: Presence
    departures: Departures
    refusals: RefusalLog

    def address_of(self, scope: MutableMapping[str, Any]) -> str:
        """The client of an ASGI scope."""
        client = scope.get("client")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return self.addresses.of(client[0] if client else None, forwarded)
