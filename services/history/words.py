"""The words of a text, as searching knows them. Pure.

Whole words, without regard to case, width or ligatures: a run of letters and digits is a word. In
writing without spaces that is a whole clause.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from shared.contracts.chat import ContentPart, Role

MOST_TERMS: Final = 500
"""Different words of one message that it is found by: its first ones."""
MOST_ASKED: Final = 8
_SEARCHED: Final[frozenset[Role]] = frozenset({"user", "assistant", "system"})
_TEXT: Final = 100_000
"""Characters of one text that are looked at."""
_LENGTH: Final = 64
"""A longer word is known by its beginning, in the text as in the search."""
_WORD: Final = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The different words in order of their appearance, at most ``MOST_TERMS``."""
    words: dict[str, None] = {}
    for match in _WORD.finditer(_folded(text[:_TEXT])):
        words[match[0][:_LENGTH]] = None
        if len(words) == MOST_TERMS:
            break
    return list(words)


def said_words(role: Role, content: str | Sequence[ContentPart] | None) -> list[str]:
    """The words that a message is found by: of its text, not of its thinking or its tools."""
    if role not in _SEARCHED or content is None:
        return []
    if isinstance(content, str):
        return words_of(content)
    return words_of("\n".join(part.text or "" for part in content))


def asked_words(search: str) -> list[str]:
    """The words that must all occur, at most ``MOST_ASKED``."""
    return words_of(search)[:MOST_ASKED]


def _folded(text: str) -> str:
    # Folding may leave what is not composed any more.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
