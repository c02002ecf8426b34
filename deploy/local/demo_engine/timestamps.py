"""Times as Ollama writes them: RFC 3339 in UTC, with nanoseconds."""

import time


def rfc3339(unix_ns: int) -> str:
    """A time given in nanoseconds of the Unix clock."""
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def now_rfc3339() -> str:
    """The time now."""
    return rfc3339(time.time_ns())
