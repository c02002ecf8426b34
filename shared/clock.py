"""The one source of wall-clock time."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The current time, aware, in UTC. Never compare it with another machine's."""
    return datetime.now(UTC)
