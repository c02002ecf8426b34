"""Wishes to the engine, written into the text of a message or into the options.

The last user message, or a system message, may hold ``[demo key=value ...]``::

    [demo tokens=200 tps=0 first_token_ms=500 fault=cut@20]

- ``tokens=N``: the answer is exactly N tokens long (1 to 200000).
- ``tps=X``: tokens per second; 0 is as fast as possible.
- ``first_token_ms=X``: the silence before the first token.
- ``fault=F``: something goes wrong; see ``faults.py`` for the words.

The same wishes as request options: ``demo_tokens``, ``demo_tokens_per_second``,
``demo_first_token_ms``, ``demo_fault``. An option outweighs the user's directive, that one the
system message's, that one the model's and the server's defaults. A directive is no part of the
question: with it or without it the answer has the same words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploy.local.demo_engine.faults import FAULTS, Fault, parse_fault

MAX_TOKENS = 200_000

_DIRECTIVE = re.compile(r" ?\[demo((?:\s+[A-Za-z_]+=[^\s\]]+)*)\s*\]")


_KNOWN = {
    "tokens": "it takes a whole number",
    "tps": "it takes tokens per second, 0 for as fast as possible",
    "first_token_ms": "it takes milliseconds",
    "fault": FAULTS,
}
"""What each wish takes."""


class InvalidWish(ValueError):
    """A directive or a demo option that cannot be understood; the text says which."""

    def __init__(self, key: str, value: str) -> None:
        known = _KNOWN.get(key, f"there are {', '.join(_KNOWN)}")
        super().__init__(f"demo engine: {key}={value} is not understood; {known}")


@dataclass(frozen=True)
class Wishes:
    """What a request asked of the demo engine; None is "as usual"."""

    tokens: int | None = None
    tokens_per_second: float | None = None
    first_token_ms: float | None = None
    fault: Fault | None = None

    def over(self, weaker: "Wishes") -> "Wishes":
        """These wishes, and ``weaker``'s where these say nothing."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(weaker, **said)


def strip_directives(text: str) -> str:
    """``text`` without its directives."""
    return _DIRECTIVE.sub("", text).strip() if "[demo" in text else text


def wishes_in_text(text: str) -> Wishes:
    """The wishes of all directives in ``text``; a later one outweighs an earlier.

    Raises:
        InvalidWish: a directive has an unknown key or an impossible value.
    """
    wishes = Wishes()
    for found in _DIRECTIVE.finditer(text):
        for word in found.group(1).split():
            key, _, value = word.partition("=")
            wishes = _wish(key.lower(), value).over(wishes)
    return wishes


def wishes_in_options(options: Mapping[str, Any]) -> Wishes:
    """The wishes among a request's options.

    Raises:
        InvalidWish: one of them has an impossible value.
    """
    wishes = Wishes()
    for option, key in (
        ("demo_tokens", "tokens"),
        ("demo_tokens_per_second", "tps"),
        ("demo_first_token_ms", "first_token_ms"),
        ("demo_fault", "fault"),
    ):
        if options.get(option) is not None:
            wishes = _wish(key, str(options[option])).over(wishes)
    return wishes


def _wish(key: str, value: str) -> Wishes:
    try:
        match key:
            case "tokens":
                return Wishes(tokens=min(max(1, int(value)), MAX_TOKENS))
            case "tps":
                return Wishes(tokens_per_second=_not_negative(value))
            case "first_token_ms":
                return Wishes(first_token_ms=_not_negative(value))
            case "fault":
                return Wishes(fault=parse_fault(value))
    except ValueError as error:
        raise InvalidWish(key, value) from error
    raise InvalidWish(key, value)


def _not_negative(value: str) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(value)
    return number
