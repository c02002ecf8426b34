"""What is wrong with a field, as a sentence: pure. A validator's own texts are for programmers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

_Context = Mapping[str, Any]


def _fixed(text: str) -> Callable[[_Context], str]:
    return lambda _context: text


def _at_least(context: _Context) -> str:
    return f"must be at least {context['ge']}"


def _at_most(context: _Context) -> str:
    return f"must be at most {context['le']}"


def _less(context: _Context) -> str:
    return f"must be less than {context['lt']}"


def _more(context: _Context) -> str:
    return f"must be more than {context['gt']}"


def _digits(context: _Context) -> str:
    return f"must have at most {context['decimal_places']} digits after the point"


def _characters(bound: str, name: str) -> Callable[[_Context], str]:
    return lambda context: f"must have at {bound} {_count(context[name], 'character')}"


def _items(bound: str, name: str) -> Callable[[_Context], str]:
    return lambda context: f"must have at {bound} {_count(context[name], 'item')}"


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _one_of(context: _Context) -> str:
    return f"must be {context['expected']}"


_WHOLE: Final = _fixed("must be a whole number")
_NUMBER: Final = _fixed("must be a number")
_YES_OR_NO: Final = _fixed("must be true or false")
_OBJECT: Final = _fixed("must be an object")
_TIME: Final = _fixed("must be a time like 2026-01-31T12:00:00Z")
_PREDICATES: Final[Mapping[str, Callable[[_Context], str]]] = {
    "missing": _fixed("is required"),
    "extra_forbidden": _fixed("is unknown"),
    "string_type": _fixed("must be text"),
    "string_too_short": _characters("least", "min_length"),
    "string_too_long": _characters("most", "max_length"),
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "decimal_max_places": _digits,
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "list_type": _fixed("must be a list"),
    "too_short": _items("least", "min_length"),
    "too_long": _items("most", "max_length"),
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "greater_than_equal": _at_least,
    "less_than_equal": _at_most,
    "less_than": _less,
    "greater_than": _more,
    "literal_error": _one_of,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
}


def sentence_of(problem: ErrorDetails, where: str) -> str:
    """One problem that a validator has found at ``where``, which may be empty.

    Validators of ours raise a ``ValueError`` with a whole sentence.
    """
    if problem["type"] == "value_error":
        own = problem["msg"].removeprefix("Value error, ")
        return f"{own.removesuffix('.')} ({where})." if "." in where else own
    predicate = _PREDICATES.get(problem["type"], _fixed("is not valid"))
    text = predicate(problem.get("ctx", {}))
    return f"The field {where} {text}." if where else f"The body {text}."
