"""``/api/chat/sessions``: requirements 1. A malformed id is 400, an unknown one 404."""

from typing import Annotated, Final

from fastapi import Query, Request, Response

from services.api.answers import to_session_body, to_session_detail
from services.api.deps import StateDep, UserDep, read_body
from services.api.parsing import parse_body
from services.api.routes.faces import FacedRouter, json_body
from services.api.schemas.sessions import (
    CreateSessionRequest,
    SessionBody,
    SessionDetailBody,
    SessionListBody,
    UpdateSessionRequest,
)
from shared.contracts.ids import SessionId, parse_session_id
from shared.errors import InvalidRequest

router = FacedRouter("/sessions")

_MOST: Final = 200


@router.get("", summary="List sessions")
async def list_sessions(
    state: StateDep,
    user: UserDep,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> SessionListBody:
    """The session that changed last comes first."""
    page = await state["sessions"].page(user, limit, cursor)
    return SessionListBody(
        sessions=[to_session_body(session) for session in page.sessions],
        next_cursor=page.next_cursor,
    )


@router.post(
    "",
    status_code=201,
    summary="Create a session",
    openapi_extra=json_body("CreateSessionRequest", required=False),
)
async def create_session(request: Request, state: StateDep, user: UserDep) -> SessionBody:
    """An empty body is fine: the first message gives the title."""
    body = await read_body(request, state)
    wanted = parse_body(body or b"{}", CreateSessionRequest)
    title = wanted.title.strip() if wanted.title is not None else ""
    session = await state["sessions"].create(user, title or None, wanted.model)
    return to_session_body(session)


@router.get("/{session_id}", summary="Read a session", response_model_exclude_none=True)
async def get_session(
    session_id: str,
    state: StateDep,
    user: UserDep,
    limit: Annotated[int | None, Query(ge=1, le=1000)] = None,
    before_depth: Annotated[int | None, Query(alias="beforeDepth", ge=1)] = None,
) -> SessionDetailBody:
    """With its messages, oldest first; all of them unless ``limit`` says otherwise."""
    session, detail = await state["sessions"].read(
        user, _parse(session_id), limit=limit, before_depth=before_depth
    )
    return to_session_detail(session, detail)


@router.put(
    "/{session_id}",
    summary="Rename a session",
    openapi_extra=json_body("UpdateSessionRequest"),
)
async def update_session(
    session_id: str, request: Request, state: StateDep, user: UserDep
) -> SessionBody:
    """At most 255 characters."""
    parsed = _parse(session_id)
    body = await read_body(request, state)
    title = parse_body(body, UpdateSessionRequest).title.strip()
    if not title:
        raise InvalidRequest("title: a title needs at least one character", param="title")
    return to_session_body(await state["sessions"].rename(user, parsed, title))


@router.delete("/{session_id}", status_code=204, summary="Delete a session")
async def delete_session(session_id: str, state: StateDep, user: UserDep) -> Response:
    """It is hidden at once; a turn that is running in it is stopped."""
    await state["sessions"].delete(user, _parse(session_id))
    return Response(status_code=204)


def _parse(session_id: str) -> SessionId:
    parsed = parse_session_id(session_id)
    if parsed is None:
        raise InvalidRequest("A session id is a UUID.", param="id")
    return parsed
