"""How many tokens a text may be, for who has no engine's count of it: pure.

Two answers to two questions. ``roughly`` is for choosing what to show a model: neither more nor
less on the whole, for the tokenizers of today and European prose. ``prompt_at_most`` is for
charging what no engine has counted: not less than the vocabularies of chat models make of it, so
that nobody gains by leaving before the count comes. Decision 28 has the measurements.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

from shared.contracts.chat import FunctionTool, Message

CHARACTERS: Final = 4
"""Of a token, as a rule."""
PREAMBLE: Final = 64
"""Tokens that a template may put before all messages."""
_AROUND: Final = 4
"""Tokens that a template puts around a message, as a rule."""
_IMAGE: Final = 800
"""Tokens of an image, as a rule."""

_MOST_AROUND: Final = 8
_MOST_IMAGE: Final = 4096
"""Mistral Small 3.1 makes 3,080 of the largest one that it takes, LLaVA 1.6 makes 2,880."""
_MOST_CALL: Final = 32
"""What a template says around a call: names of fields, and marks of where it begins and ends."""
_MOST_TOOLS: Final = 256
"""What a template says to explain that there are tools."""


def _kinds() -> bytes:
    """For each byte of UTF-8: a lower-case letter, a capital, a space, free, or something else."""
    kinds = bytearray(b"x" * 256)
    for letter in range(ord("a"), ord("z") + 1):
        kinds[letter] = ord("a")
        kinds[letter - 32] = ord("A")
    kinds[ord(" ")] = ord(" ")
    # What begins a letter of U+00C0 to U+017F (Latin) or U+0400 to U+047F (Cyrillic): with its
    # second byte it is one token, or a part of one, in any vocabulary that chat models have.
    for first in (0xC3, 0xC4, 0xC5, 0xD0, 0xD1):
        kinds[first] = ord("-")
    return bytes(kinds)


_KINDS: Final = _kinds()


def text_at_most(text: str) -> int:
    """Tokens of a text, at most: linear, and a few ms for a megabyte.

    A token for each byte, which no byte-level vocabulary exceeds, but: two lower-case letters are
    one, so is a Latin or Cyrillic letter of two bytes, and a space belongs to the Latin word after.
    And one for the space that SentencePiece puts before a text.
    """
    kinds = text.encode(errors="replace").translate(_KINDS)
    lower, spaced = kinds.count(b"a"), kinds.count(b" a")
    # Beginnings of runs: each may end with half a pair.
    runs = spaced + kinds.count(b"Aa") + kinds.count(b"xa") + kinds.startswith(b"a")
    free = kinds.count(b"-") + spaced + kinds.count(b" A") + lower
    return 1 + len(kinds) - free + (lower + runs + 1) // 2


def unseen_at_most(text: str) -> int:
    """Tokens that ``text`` may have beyond one for each character outside ASCII.

    Engines say a character when its last byte is there, however many tokens that took.
    """
    if text.isascii():
        return 0
    kinds = text.encode(errors="replace").translate(_KINDS)
    return len(kinds) - len(text) - kinds.count(b"-")


def call_at_most(name: str, arguments: str) -> int:
    """Tokens of a call of a tool, at most; ``arguments`` is JSON."""
    return _MOST_CALL + text_at_most(name) + _json_at_most(arguments)


def prompt_at_most(
    messages: Sequence[Message], tools: Sequence[FunctionTool], window: int | None
) -> int:
    """Tokens of a prompt, at most: also what a template adds, tools, calls and images.

    Args:
        messages: What the model is shown.
        tools: What it may call.
        window: Tokens of the widest context that it may be given: no engine reads more than that,
            so whoever leaves before it has said so owes no more. ``None`` for any number.
    """
    most = PREAMBLE + _tools_at_most(tools)
    for message in messages:
        if window is not None and most >= window:
            return window
        most += _message_at_most(message, window)
    return most if window is None else min(most, window)


def roughly(message: Message) -> int:
    """Tokens of a message, roughly."""
    calls = sum(
        len(call.function.name) + len(call.function.arguments) for call in message.tool_calls or ()
    )
    text = math.ceil((len(message.text()) + calls) / CHARACTERS)
    return text + _AROUND + _IMAGE * _images(message)


def _message_at_most(message: Message, window: int | None) -> int:
    said = (message.text(), message.thinking, message.name, message.tool_call_id)
    # More than two characters are never one token: megabytes beyond the window are not looked at.
    end = None if window is None else 2 * window
    calls = (call.function for call in message.tool_calls or ())
    return (
        _MOST_AROUND
        + sum(text_at_most(text[:end]) for text in said if text)
        + sum(call_at_most(call.name, call.arguments) for call in calls)
        + _MOST_IMAGE * _images(message)
    )


def _tools_at_most(tools: Sequence[FunctionTool]) -> int:
    if not tools:
        return 0
    return _MOST_TOOLS + sum(
        _MOST_CALL + _json_at_most(_json(tool.model_dump(exclude_none=True))) for tool in tools
    )


def _json_at_most(text: str) -> int:
    # Ollama's templates are Go's: ``json.Marshal`` writes these as six characters each.
    return text_at_most(text) + 5 * sum(map(text.count, "<>&"))


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _images(message: Message) -> int:
    parts = message.content if isinstance(message.content, list) else ()
    return sum(part.type != "text" for part in parts)
