"""What tokens cost: ``API_PRICES``, in decimal arithmetic throughout.

The table is a JSON object, or the path of a file with one: patterns of model names (``*`` and ``?``
as in file names) with prices per million tokens. The first pattern that fits counts, a model that
none fits costs nothing::

    {"llama3*": {"prompt": 0.15, "completion": 0.6}, "*": {"prompt": 0, "completion": 0}}
"""

import decimal
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

DIGITS: Final = 6
"""After the point, of a price and of an amount."""
_MOST: Final = Decimal(1_000_000)
_MILLION: Final = Decimal(1_000_000)
_KINDS: Final = ("prompt", "completion")
_EXACT: Final = decimal.Context(prec=60)
"""Enough for any count that a database can hold."""
_LATEST: Final = ":latest"


@dataclass(frozen=True)
class Price:
    """Of one million tokens each."""

    prompt: Decimal = Decimal(0)
    completion: Decimal = Decimal(0)


@dataclass(frozen=True)
class PriceTable:
    """Patterns and prices in the order in which they are tried."""

    prices: tuple[tuple[str, Price], ...] = ()

    def price_of(self, model: str) -> Price:
        """The price of a model, with or without ``:latest``."""
        name = model.removesuffix(_LATEST)
        return next((price for pattern, price in self.prices if fnmatchcase(name, pattern)), _FREE)

    def cost(self, tokens: Mapping[str, tuple[int, int]]) -> Decimal:
        """What prompt and completion tokens of these models cost, exactly."""
        amount = Decimal(0)
        with decimal.localcontext(_EXACT):
            for model, (prompt, completion) in tokens.items():
                price = self.price_of(model)
                amount += prompt * price.prompt + completion * price.completion
            return amount / _MILLION


def plus(amount: Decimal, more: Decimal) -> Decimal:
    """The sum to its last digit: the default context of ``decimal`` would round it."""
    with decimal.localcontext(_EXACT):
        return amount + more


def money(amount: Decimal) -> str:
    """An amount as clients get it: digits, a point and six digits, half to even."""
    with decimal.localcontext(_EXACT):
        return format(amount.quantize(Decimal(1).scaleb(-DIGITS)), "f")


def parse_price_table(value: object) -> object:
    """Read the setting; what is not text is left to pydantic.

    Raises:
        ValueError: no such file, not JSON, or not of this shape; the message says what.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return PriceTable()
    if not text.startswith("{"):
        text = _read(Path(text))
    try:
        found = json.loads(
            text,
            parse_float=Decimal,
            parse_int=Decimal,
            object_pairs_hook=once_each("the price table"),
        )
    except json.JSONDecodeError as error:
        message = f"the price table is not valid JSON: {error.msg} (at character {error.pos})"
        raise ValueError(message) from error
    if not isinstance(found, dict):
        raise ValueError("the price table is a JSON object of model names and prices")  # noqa: TRY004 - pydantic takes ValueError
    return PriceTable(
        tuple(
            (pattern.removesuffix(_LATEST), _price(pattern, price))
            for pattern, price in found.items()
        )
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        message = f"cannot read the price table {path}: {reason}"
        raise ValueError(message) from error


def once_each(where: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Let JSON have no name twice: the one that counts would not be the one that is read."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            message = f"{twice!r} stands twice in {where}"
            raise ValueError(message)
        return found

    return check


def _price(pattern: str, value: object) -> Price:
    if not isinstance(value, dict) or not value.keys() <= set(_KINDS) or not value:
        message = f'the price of {pattern!r} is written {{"prompt": 0.15, "completion": 0.6}}'
        raise ValueError(message)
    return Price(**{kind: _amount(f"{kind} price of {pattern!r}", value[kind]) for kind in value})


def _amount(name: str, value: object) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str | Decimal) else None
    except decimal.InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        message = f"the {name} is not a number"
        raise ValueError(message)
    if not 0 <= amount <= _MOST:
        message = f"the {name} is not between 0 and {_MOST}"
        raise ValueError(message)
    if amount != round(amount, DIGITS):
        message = f"the {name} has more than {DIGITS} digits after the point"
        raise ValueError(message)
    return amount


_FREE: Final = Price()
