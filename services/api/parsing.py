"""From the bytes of a body to a checked model: pure, and it never echoes what it was given."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from services.api.problems import sentence_of
from services.api.shapes import Shape, may_exceed, shape_of
from shared.errors import InvalidRequest

_DEPTH: Final = 64
"""Serialisers further on give up at about 250; nobody nests a request half as deep as this."""
_MOST: Final = Shape(containers=50_000, items=500_000)
"""All requests wait while one is checked: 6 MiB of empty objects would take many seconds."""
IMPORTED: Final = Shape(containers=400_000, items=1_600_000)
"""Of a session that is imported: for each message twenty lists and objects, and eighty items."""
_MODEL = TypeVar("_MODEL", bound=BaseModel)


def parse_body(body: bytes, model: type[_MODEL], what: str = "body") -> _MODEL:
    """Read a JSON object as ``model``; ``what`` is how its client calls it.

    Raises:
        InvalidRequest: see ``read_object`` and ``checked``.
    """
    return checked(read_object(body, what), model)


def read_object(body: bytes, what: str = "body", *, most: Shape = _MOST) -> dict[str, Any]:
    """Read a JSON object of any shape, with at most so many lists, objects and items in it.

    Raises:
        InvalidRequest: not JSON, too deep or too much in pieces, or NUL in a string.
    """
    if may_exceed(body, most):
        _refuse_bulk(shape_of([body], most), most, what)
    try:
        # orjson refuses lone surrogates and bytes that are not UTF-8, which no store takes either.
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"is not valid JSON (at character {error.pos})" if body.strip() else "is empty"
        message = f"The {what} {where}; it must be a JSON object."
        raise InvalidRequest(message) from error
    if not isinstance(value, dict):
        message = f"The {what} must be a JSON object."
        raise InvalidRequest(message)
    if body.count(b"[") + body.count(b"{") > _DEPTH or b"\\u0000" in body:
        _inspect(value, what)
    return value


def checked(value: object, model: type[_MODEL], path: Sequence[str | int] = ()) -> _MODEL:
    """What stands at ``path`` of a body, as ``model``.

    Raises:
        InvalidRequest: it is not of this shape; ``param`` says where.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(error, value, path) from error


def _inspect(root: dict[str, Any], what: str) -> None:
    """Walk depth first: it remembers one path, however much the body holds."""
    path: list[str | int] = []
    levels = [_children(root)]
    while levels:
        child = next(levels[-1], None)
        if child is None:
            levels.pop()
            if path:
                path.pop()
            continue
        key, value = child
        if isinstance(key, str):
            _refuse_nul(key, path)
        if isinstance(value, str):
            _refuse_nul(value, [*path, key] if "\0" in value else path)
        elif isinstance(value, (dict, list)):
            path.append(key)
            _refuse_depth(len(path), what)
            levels.append(_children(value))


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:  # noqa: ANN401 - any JSON
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _refuse_bulk(shape: Shape, most: Shape, what: str) -> None:
    if shape.within(most):
        return
    if shape.containers > most.containers:
        message = f"The {what} holds more than {most.containers} lists and objects."
    else:
        message = f"The {what} holds more than {most.items} values and names."
    raise InvalidRequest(message)


def _refuse_depth(depth: int, what: str) -> None:
    if depth >= _DEPTH:
        message = f"The {what} nests more than {_DEPTH} levels deep."
        raise InvalidRequest(message)


def _refuse_nul(text: str, path: Sequence[str | int]) -> None:
    if "\0" in text:
        where = _dotted(path) or None
        raise InvalidRequest("Text must not hold the character U+0000.", param=where)


def _invalid(error: ValidationError, value: object, path: Sequence[str | int]) -> InvalidRequest:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = _dotted([*path, *_real_path(problem["loc"], value)])
    return InvalidRequest(sentence_of(problem, where), param=where or None)


def _real_path(loc: Sequence[str | int], value: object) -> list[str | int]:
    """Without the names that pydantic gives to the branches of a union, which have brackets."""
    path: list[str | int] = []
    for position, item in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(item, str) and item[:1] + item[-1:] == "<>":
            continue
        if isinstance(value, dict) and (item in value or last):
            path.append(item)
            value = value.get(item)
        elif isinstance(value, list) and isinstance(item, int):
            path.append(item)
            value = value[item] if item < len(value) else None
    return path


def _dotted(path: Sequence[str | int]) -> str:
    # A path may hold keys of the client's making: keep it short and printable.
    text = ".".join(str(item) for item in path)[:200]
    return "".join(character if character.isprintable() else "?" for character in text)
