"""Text to tokens and back: the pieces joined are the text, and counting twice counts the same."""

import re
from collections.abc import Iterator

# A space belongs to the word after it, as in the vocabularies of real models. Matching runs from
# left to right and a piece never depends on the one before it, so a text cut between two pieces
# gives the same pieces again. Every character belongs to one of the four alternatives.
_PIECE = re.compile(r" ?[^\W\d_]{1,12}| ?\d{1,3}| ?(?:[^\w\s]|_)|\s")

MESSAGE_OVERHEAD = 4
"""Tokens that a chat template adds to each message (role and separators)."""

IMAGE_TOKENS = 256
"""Tokens that a vision model spends on one image."""

# A long text is counted by windows, between which other threads may run.
_WINDOW = 1 << 16


def tokens_of(text: str) -> Iterator[str]:
    """Yield the pieces of ``text`` in order; joined they are ``text``."""
    return (match.group() for match in _PIECE.finditer(text))


def count_tokens(text: str) -> int:
    """Number of pieces that ``tokens_of`` yields."""
    count = at = 0
    while len(text) - at > _WINDOW:
        # Only the last piece of a window may be cut by its end; it is matched again.
        pieces = _PIECE.findall(text, at, at + _WINDOW)
        count += len(pieces) - 1
        at += _WINDOW - len(pieces[-1])
    return count + len(_PIECE.findall(text, at))
