"""Copies of sessions on both faces: fork, export, import."""

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request, Response

from services.api.completions.idempotency import HEADER as KEY_HEADER
from services.api.completions.idempotency import check_key
from services.api.deps import StateDep, UserDep, add_headers, read_body
from services.api.routes.downloads import attachment
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import parsed, read_model
from services.api.routes.sessions import session_id_of, tagged
from services.api.routes.turns import message_id_of
from services.api.schemas.archive import ExportBody, ImportRequest
from services.api.schemas.sessions import SessionBody
from services.api.schemas.turns import ForkRequest
from services.api.sessions.archive import from_import, to_export, to_markdown
from shared.contracts.ids import imported_session_id

router = FacedRouter("/sessions")

_JOINED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": SessionBody, "description": "The same file was imported before: its session."}
}
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ExportBody, "content": {"text/markdown": {"schema": {"type": "string"}}}}
}


@router.post(
    "/import",
    status_code=201,
    summary="Import a session",
    openapi_extra=json_body("ImportRequest"),
    responses=_JOINED,
    errors=(400, 413, 503),
)
async def import_session(
    request: Request, response: Response, state: StateDep, user: UserDep
) -> SessionBody:
    """What ``export`` gave as JSON becomes a new session with messages of its own.

    The same file within ten minutes is the same import: who gets a 503 because it takes long asks
    again and waits for it. Where its session was there already the answer is 200 with
    ``Idempotency-Replayed: true``, and the session as it is now. With another ``Idempotency-Key``
    it is another session at once.
    """
    body = await read_body(request, state)
    key = check_key(request.headers.getlist(KEY_HEADER)) or ""
    wanted = parsed(request, body, ImportRequest)
    command = from_import(wanted, user, imported_session_id(user, body, key))
    brought = await state["copying"].bring_in(command)
    if brought.before:
        response.status_code = HTTPStatus.OK
        add_headers(request, {"Idempotency-Replayed": "true"})
    return tagged(request, brought.session)


@router.post(
    "/{session_id}/fork",
    status_code=201,
    summary="Fork a session",
    openapi_extra=json_body("ForkRequest", required=False),
    errors=(400, 404, 413, 503),
)
async def fork_session(
    session_id: str, request: Request, state: StateDep, user: UserDep
) -> SessionBody:
    """A new session with the branch that ends at the message, and the same settings.

    Without a message the active branch is taken to its end. Who gets a 503 because it takes long
    asks again and waits for it. With an ``Idempotency-Key`` it is the same session at any gateway
    for ten minutes; without one each fork that was answered is another session.
    """
    keys = request.headers.getlist(KEY_HEADER)
    session = session_id_of(session_id)
    wanted = await read_model(request, state, ForkRequest, empty=b"{}")
    message = message_id_of(wanted.message_id) if wanted.message_id is not None else None
    made = await state["copying"].fork(user, session, message, check_key(keys))
    return tagged(request, made)


@router.get(
    "/{session_id}/export",
    summary="Export a session",
    response_model=None,
    responses=_FILE,
    errors=(400, 404, 413, 503),
)
async def export_session(
    session_id: str,
    request: Request,
    state: StateDep,
    user: UserDep,
    form: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Response:
    """JSON has every branch and can be imported; Markdown has the one that is shown."""
    session, messages = await state["sessions"].tree(user, session_id_of(session_id))
    if form == "markdown":
        body, kind, ending = to_markdown(session, messages).encode(), "text/markdown", "md"
    else:
        exported = to_export(session, messages)
        body = _readable(exported, request.url.path, state["max_body_bytes"])
        kind, ending = "application/json", "json"
    headers = {"Content-Disposition": attachment(session.title, ending)}
    return Response(body, media_type=f"{kind}; charset=utf-8", headers=headers)


def _readable(exported: ExportBody, path: str, limit: int) -> bytes:
    """Indented, unless that alone would keep it from being imported again."""
    camel = path.startswith("/api/")
    indented = exported.model_dump_json(by_alias=camel, exclude_none=True, indent=2).encode()
    if len(indented) <= limit:
        return indented
    return exported.model_dump_json(by_alias=camel, exclude_none=True).encode()
