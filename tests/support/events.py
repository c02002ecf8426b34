"""Server-sent events as a browser reads them."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One dispatched event; ``id`` is the line of its own, not what an earlier one said."""

    id: str | None
    data: str
    retry: str | None = None

    @property
    def index(self) -> int | None:
        """The number in its id."""
        return int(self.id.rpartition(":")[2]) if self.id is not None else None

    def json(self) -> dict[str, Any]:
        """Its parsed data."""
        parsed: dict[str, Any] = json.loads(self.data)
        return parsed


def parse_events(body: bytes) -> list[Event]:
    """The complete events of a stream; what follows the last blank line is not dispatched."""
    found: list[Event] = []
    fields: dict[str, str] = {}
    for line in body.decode().split("\n")[:-1]:
        if not line:
            if "data" in fields:
                found.append(Event(fields.get("id"), fields["data"], fields.get("retry")))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
    return found
