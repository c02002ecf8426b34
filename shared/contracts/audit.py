"""Who has asked for an administrative act: what the audit says of its actor."""

from typing import Final, Literal

from shared.contracts.ids import UserId
from shared.contracts.wire import WireModel

ACTOR: Final = "Parley-Actor"
"""The header of a question on ``chat.history.*`` that says it; only audited questions carry it."""


class Actor(WireModel):
    """As whoever let them in knows them: a gateway, or a command on this machine."""

    user: UserId | None = None
    """Absent for a stranger, and for whoever owns the data directory."""
    via: Literal["http", "websocket", "cli", "service"]
    """``service``: a part of Parley by itself, on time."""
    key_id: str | None = None
    """Of the API key that was used."""
    address: str | None = None
    """Of the client."""
    request_id: str | None = None
    """Given by the gateway: as the answer's ``X-Request-Id`` says it, where nothing was sent."""
    sent_request_id: str | None = None
    """What the client has sent as ``X-Request-Id``, which the answer repeats: its own choice."""


OPERATOR: Final = Actor(via="cli")
"""Whoever may read the data directory."""
