"""One-time tickets, for what cannot send headers."""

from datetime import datetime
from typing import Protocol

from shared.contracts.api_keys import Money
from shared.contracts.user_purge import OwnedEntry


class TicketEntry(OwnedEntry):
    """For whom a ticket was made."""

    roles: list[str]
    key_id: str | None = None
    models: list[str]
    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_month: int | None = None
    money_per_month: Money | None = None
    expires_at: datetime | None = None
    """When the credentials that it was made with stop being valid."""
    valid_until: datetime


class Tickets(Protocol):
    """Tickets by their digests, the same for all gateways.

    Raises (every call):
        BrokerUnavailable: no answer; perhaps done.
    """

    async def put(self, digest: str, entry: TicketEntry, ttl: float) -> None:
        """Keep it for ``ttl`` seconds, or little longer."""
        ...

    async def take(self, digest: str) -> TicketEntry | None:
        """Take it away; of all who try, one gets it."""
        ...
