"""Beside the bytes of a dead letter: why nobody could take them."""

from typing import Final

REASON: Final = "Parley-Reason"
"""The header with one line for people, whoever has buried it."""
REASON_LENGTH: Final = 500


def reason_line(reason: str) -> str:
    """What the header may hold: one line of ASCII, not too long."""
    return " ".join(reason.split())[:REASON_LENGTH].encode("ascii", "replace").decode()
