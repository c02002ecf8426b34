"""``sessions`` on both faces. A malformed id is 400, an unknown one 404."""

from typing import Annotated, Final

from fastapi import Query, Request, Response

from services.api.completions.answers import to_session_body, to_session_detail
from services.api.deps import StateDep, UserDep, add_headers
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import read_model
from services.api.routes.preconditions import etag, etag_of_all, wanted_version
from services.api.schemas.sessions import (
    CreateSessionRequest,
    SessionBody,
    SessionDetailBody,
    SessionListBody,
    UpdateSessionRequest,
)
from shared.contracts.history import CreateSession, ListSessions, Session, UpdateSession
from shared.contracts.ids import SessionId, new_session_id, parse_session_id
from shared.errors import InvalidRequest

router = FacedRouter("/sessions", errors=(400, 404, 409, 412, 413, 503))

_MOST: Final = 200


@router.get("", summary="List sessions", errors=(400, 503))
async def list_sessions(
    state: StateDep,
    user: UserDep,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    deleted: bool = False,
) -> SessionListBody:
    """The session that changed last comes first.

    ``search`` wants every one of its words in the title or the messages, of the last one at least
    the beginning. A beginning that very many words share stands, in messages, for those that come
    first in the order of letters: typing on finds the others. ``deleted`` lists those that can be
    restored.
    """
    if search is not None and "\0" in search:
        raise InvalidRequest("Text must not hold the character U+0000.", param="search")
    words = (search or "").strip() or None
    query = ListSessions(user_id=user, limit=limit, cursor=cursor, search=words, deleted=deleted)
    page = await state["sessions"].page(query)
    return SessionListBody(
        sessions=[to_session_body(session) for session in page.sessions],
        next_cursor=page.next_cursor,
    )


@router.post(
    "",
    status_code=201,
    summary="Create a session",
    openapi_extra=json_body("CreateSessionRequest", required=False),
    errors=(400, 413, 503),
)
async def create_session(request: Request, state: StateDep, user: UserDep) -> SessionBody:
    """An empty body is fine: the first message gives the title."""
    wanted = await read_model(request, state, CreateSessionRequest, empty=b"{}")
    command = CreateSession(
        user_id=user,
        session_id=new_session_id(),
        title=(wanted.title or "").strip() or None,
        **wanted.settings().model_dump(),
    )
    return tagged(request, await state["sessions"].create(command))


@router.get("/{session_id}", summary="Read a session", errors=(400, 404, 503))
async def get_session(
    session_id: str,
    request: Request,
    state: StateDep,
    user: UserDep,
    limit: Annotated[int | None, Query(ge=1, le=1000)] = None,
    before_depth: Annotated[int | None, Query(alias="beforeDepth", ge=1)] = None,
) -> SessionDetailBody:
    """With its messages, oldest first: all of them, or the newest thousand."""
    session, detail = await state["sessions"].read(
        user, session_id_of(session_id), limit=limit, before_depth=before_depth
    )
    add_headers(request, {"ETag": etag_of_all(session, detail.messages)})
    return to_session_detail(session, detail)


@router.put(
    "/{session_id}",
    summary="Change a session",
    openapi_extra=json_body("UpdateSessionRequest"),
)
@router.patch(
    "/{session_id}",
    summary="Change a session",
    openapi_extra=json_body("UpdateSessionRequest"),
)
async def update_session(
    session_id: str, request: Request, state: StateDep, user: UserDep
) -> SessionBody:
    """What is absent stays as it is; with a version or ``If-Match``, only if that still holds.

    An old version is 409 where the body names it, 412 where ``If-Match`` does.
    """
    parsed = session_id_of(session_id)
    wanted = await read_model(request, state, UpdateSessionRequest)
    command = UpdateSession(
        user_id=user,
        session_id=parsed,
        title=wanted.title.strip() if wanted.title is not None else None,
        settings=wanted.settings(),
        cleared=wanted.cleared(),
        version=wanted_version(request, wanted.version),
    )
    return tagged(request, await state["sessions"].update(command))


@router.delete(
    "/{session_id}", status_code=204, summary="Delete a session", errors=(400, 404, 412, 503)
)
async def delete_session(
    session_id: str, request: Request, state: StateDep, user: UserDep
) -> Response:
    """It is hidden at once and can be restored; a turn that is running in it is stopped.

    With ``If-Match``, only if that version still holds.
    """
    version = wanted_version(request, None)
    await state["deleting"].delete(user, session_id_of(session_id), version)
    return Response(status_code=204)


@router.post("/{session_id}/restore", summary="Restore a deleted session", errors=(400, 404, 503))
async def restore_session(
    session_id: str, request: Request, state: StateDep, user: UserDep
) -> SessionBody:
    """It is there again, with what was stored meanwhile."""
    return tagged(request, await state["deleting"].restore(user, session_id_of(session_id)))


def session_id_of(text: str) -> SessionId:
    """The id in a path.

    Raises:
        InvalidRequest: it is none.
    """
    parsed = parse_session_id(text)
    if parsed is None:
        raise InvalidRequest("A session id is a UUID.", param="session_id")
    return parsed


def tagged(request: Request, session: Session) -> SessionBody:
    """A session as it is shown, its version as the answer's tag."""
    add_headers(request, {"ETag": etag(session.version)})
    return to_session_body(session)
