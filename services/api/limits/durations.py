"""Durations as OpenAI's headers write them: pure."""

from typing import Final

_MS: Final = 1_000_000


def duration_text(nanoseconds: int) -> str:
    """``120ms``, ``2.5s``, ``1m30s``, ``1h0m0s``: rounded up, as who waits that long is served."""
    milliseconds = milliseconds_of(nanoseconds)
    if not milliseconds:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


def milliseconds_of(nanoseconds: int) -> int:
    """Whole milliseconds, rounded up."""
    return -(-nanoseconds // _MS)
