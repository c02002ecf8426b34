"""How the history service says that it is well."""

from shared.contracts.history import Reply
from shared.contracts.wire import WireModel


class HealthQuery(WireModel):
    """Is the history service well?"""


class HistoryHealth(Reply):
    """``database_ok`` is a ping of MongoDB with its latency; ``backlog`` counts waiting events."""

    database_ok: bool = False
    database_latency_ms: float | None = None
    backlog: int | None = None
