"""``Tickets`` in memory."""

from services.api.ports.tickets import TicketEntry


class FakeTickets:
    """A dictionary; nothing is forgotten by itself."""

    def __init__(self) -> None:
        self.entries: dict[str, TicketEntry] = {}

    async def put(self, digest: str, entry: TicketEntry, ttl: float) -> None:
        self.entries[digest] = entry

    async def take(self, digest: str) -> TicketEntry | None:
        return self.entries.pop(digest, None)
