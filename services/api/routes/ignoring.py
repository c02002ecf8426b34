"""What a request says and nobody here understands: accepted, and named in a header."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel

from services.api.completions.orders import Order
from services.api.completions.scope_keys import ANSWER_HEADERS, SENT_QUERY
from services.api.completions.translation import header_list
from services.api.deps import State, add_headers, read_body
from services.api.parsing import parse_body
from services.api.schemas.model import RequestModel

_HEADER: Final = b"x-parley-ignored"
_IGNORED: Final = "parley.ignored"
_MODEL = TypeVar("_MODEL", bound=RequestModel)


async def read_model(
    request: Request, state: State, model: type[_MODEL], *, empty: bytes = b""
) -> _MODEL:
    """The body as ``model``; ``empty`` stands for one without a byte.

    Raises:
        ChatError: see ``read_body`` and ``parse_body``.
    """
    return parsed(request, await read_body(request, state) or empty, model)


def parsed(request: Request, body: bytes, model: type[_MODEL]) -> _MODEL:
    """A body that was read; its unknown fields are named in the answer.

    Raises:
        InvalidRequest: see ``parse_body``.
    """
    wanted = parse_body(body, model)
    note_ignored(request, wanted.model_extra or ())
    return wanted


def note_ignored(request: Request, names: Iterable[str]) -> None:
    """Name them in the answer, beside those that were named before."""
    ignored: list[str] = request.scope.setdefault(_IGNORED, [])
    ignored.extend(names)
    if not ignored:
        return
    headers = request.scope[ANSWER_HEADERS]
    headers[:] = [header for header in headers if header[0] != _HEADER]
    headers.append((_HEADER, header_list(ignored).encode()))


def note_unavailable_tools(request: Request, order: Order) -> None:
    """Name the tools that were asked for and are not offered to the model."""
    if order.unavailable_tools:
        names = header_list(list(order.unavailable_tools))
        add_headers(request, {"X-Parley-Unavailable-Tools": names})


async def note_unknown_query(request: Request) -> None:
    """A dependency of routes: names the parameters that theirs are not."""
    sent = request.scope.get(SENT_QUERY, b"")
    route = request.scope.get("route")
    if not sent or not isinstance(route, APIRoute):
        return
    known = set(_parameters(route.dependant))
    names = [name for name, _ in parse_qsl(sent.decode("latin-1"), keep_blank_values=True)]
    note_ignored(request, [name for name in names if not {name, to_camel(name)} & known])


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for other in dependant.dependencies:
        yield from _parameters(other)
