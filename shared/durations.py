"""Durations as people write them in settings: ``2s``, ``500ms``, ``5m``, ``1h``, ``30d``."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def parse_duration(value: object) -> object:
    """Read ``500ms`` and its kind; a bare number is seconds; anything else is left to pydantic.

    Raises:
        ValueError: the text is not a number followed by one of ms, s, m, h, d; or it is longer
            than time can be counted.
    """
    if isinstance(value, int | float):
        return _seconds(value)
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        message = f"{value!r} is not a duration; write it like 2s, 500ms, 5m, 1h or 30d"
        raise ValueError(message)
    return _seconds(float(match[1]) * _UNITS[match[2] or "s"])


def _seconds(number: float) -> timedelta:
    try:
        return timedelta(seconds=number)
    except OverflowError as error:
        raise ValueError("a duration is at most some million years") from error


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
