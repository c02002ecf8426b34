"""One resource under two addresses, in two spellings: requirements 1 and requirements 5."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypedDict, TypeVar, Unpack, cast

from fastapi import APIRouter, Depends

from services.api.routes.ignoring import note_unknown_query
from services.api.schemas.errors import ErrorBody

_F = TypeVar("_F", bound=Callable[..., Any])


class Face(NamedTuple):
    """Where it is, and whether its answers say ``createdAt`` or ``created_at``."""

    prefix: str
    camel: bool


class Handed(TypedDict, total=False):
    """What ``APIRouter.add_api_route`` takes as it is."""

    summary: str
    status_code: int
    response_model: type | None
    openapi_extra: dict[str, Any]


class Options(Handed, total=False):
    """What may be said of a route."""

    responses: dict[int | str, dict[str, Any]]
    errors: tuple[int, ...]
    """Statuses of the error body, for the document: instead of the router's."""


FACES: Final = (Face("/api/chat", camel=True), Face("/ai-chat/api", camel=False))


class FacedRouter:
    """Adds each route to both faces; requests take either spelling at both.

    Answers are ``AnswerModel``s (or ``None``, or a ``Response`` of the route's own making): FastAPI
    writes their aliases on one face and their names on the other.
    """

    def __init__(self, path: str, *, errors: tuple[int, ...] = (400, 404, 503)) -> None:
        """Under ``<face>/<path>``.

        Args:
            path: ``/sessions`` and the like.
            errors: Statuses of the error body, for the document; a route may have others.
        """
        self._errors = errors
        self.routers = [
            APIRouter(prefix=face.prefix + path, dependencies=[Depends(note_unknown_query)])
            for face in FACES
        ]

    def route(self, method: str, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """As FastAPI's decorators."""
        errors = options.pop("errors", self._errors)
        responses: dict[int | str, dict[str, Any]] = {
            **{status: {"model": ErrorBody} for status in errors},
            **options.pop("responses", {}),
        }
        handed = cast("Handed", options)

        def add(endpoint: _F) -> _F:
            for face, router in zip(FACES, self.routers, strict=True):
                router.add_api_route(
                    path,
                    endpoint,
                    methods=[method],
                    response_model_by_alias=face.camel,
                    responses=responses,
                    **handed,
                )
            return endpoint

        return add

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """``GET``."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """``POST``."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """``PUT``."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """``PATCH``."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[_F], _F]:
        """``DELETE``."""
        return self.route("DELETE", path, **options)


STREAM: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {}}}}
"""``responses`` of a route that streams where it is asked to."""


def json_body(model: str, *, required: bool = True) -> dict[str, Any]:
    """``openapi_extra`` of a route that parses its body by itself with the schema ``model``.

    The schema's class is named in ``services.api.openapi``.
    """
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }
