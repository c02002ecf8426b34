"""The words of a text, as searching knows them. Pure.

Without regard to case, width or ligatures: a run of letters and digits is a word. Writing without
spaces is known by its pairs of neighbouring characters: a search finds what has all of its pairs.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from shared.contracts.chat import ContentPart, Role

MOST_TERMS: Final = 500
"""Different words of one message that it is found by: its first ones."""
MOST_ASKED: Final = 8
_SEARCHED: Final[frozenset[Role]] = frozenset({"user", "assistant", "system"})
_TEXT: Final = 100_000
"""Characters of one text that are looked at."""
_LENGTH: Final = 64
"""A longer word is known by its beginning, in the text as in the search."""
_UNSPACED: Final = (
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e45\u0e47-\u0e4e"  # Thai, with its vowel signs
    "\u0e81-\u0edf\u1000-\u103f\u1780-\u17d3"  # Lao, Burmese, Khmer
)
_WORD: Final = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")


class Asked(NamedTuple):
    """A word of a search."""

    word: str
    begun: bool = False
    """Whether it may be the beginning of a word."""


def words_of(text: str) -> list[str]:
    """The different words in order of their appearance, at most ``MOST_TERMS``."""
    words: dict[str, None] = {}
    for match in _WORD.finditer(_folded(text[:_TEXT])):
        # The last character too: one that is asked for alone begins a pair, or is that.
        last = match[0][-1:] if match["unspaced"] else ""
        words |= dict.fromkeys([*_terms(match), *last])
        if len(words) >= MOST_TERMS:
            break
    return list(words)[:MOST_TERMS]


def said_words(role: Role, content: str | Sequence[ContentPart] | None) -> list[str]:
    """The words that a message is found by: of its text, not of its thinking or its tools."""
    if role not in _SEARCHED or content is None:
        return []
    if isinstance(content, str):
        return words_of(content)
    return words_of("\n".join(part.text or "" for part in content))


def asked_words(search: str) -> list[Asked]:
    """What must all occur, at most ``MOST_ASKED``; the last one may be typed in part."""
    words: dict[str, bool] = {}
    for match in _WORD.finditer(_folded(search[:_TEXT])):
        alone = match["unspaced"] is not None and len(match[0]) == 1
        words |= {word: words.get(word, alone) for word in _terms(match)}
    asked = [Asked(word, begun) for word, begun in words.items()]
    last = asked[-1:]
    return [*asked[:-1], *(it._replace(begun=True) for it in last)][:MOST_ASKED]


def is_in(asked: Asked, text: str) -> bool:
    """Whether a text has the word."""
    words = words_of(text)
    if not asked.begun:
        return asked.word in words
    return any(word.startswith(asked.word) for word in words)


def _terms(match: re.Match[str]) -> list[str]:
    run = match[0]
    if match["unspaced"] is None:
        return [run[:_LENGTH]]
    return ["".join(pair) for pair in pairwise(run)] or [run]


def _folded(text: str) -> str:
    # Folding may leave what is not composed any more.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
