"""Copies of sessions on both faces: fork, export, import."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request, Response

from services.api.completions.idempotency import HEADER as KEY_HEADER
from services.api.completions.idempotency import check_key
from services.api.deps import ShareDep, StateDep, UserDep, add_headers, read_file
from services.api.routes.downloads import attachment
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.file_answer import FileAnswer, SendingTime
from services.api.routes.ignoring import note_ignored, read_model
from services.api.routes.sessions import session_id_of, tagged
from services.api.routes.turns import message_id_of
from services.api.schemas.archive import ExportBody
from services.api.schemas.sessions import SessionBody
from services.api.schemas.turns import ForkRequest
from services.api.sessions.archive import read_import
from services.api.sessions.exporting import (
    Draft,
    File,
    Importable,
    JsonDraft,
    MarkdownDraft,
)
from services.api.sessions.file_budget import Share
from services.api.sessions.turnstile import in_thread
from shared.contracts.history import Session, StoredMessage

router = FacedRouter("/sessions")

_JOINED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": SessionBody, "description": "The same file was imported before: its session."}
}
_KINDS: Final = {"json": ("application/json", "json"), "markdown": ("text/markdown", "md")}
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": ExportBody, "content": {"text/markdown": {"schema": {"type": "string"}}}}
}


@router.post(
    "/import",
    status_code=201,
    summary="Import a session",
    openapi_extra=json_body("ImportRequest"),
    responses=_JOINED,
    errors=(400, 409, 413, 503),
)
async def import_session(
    request: Request, response: Response, state: StateDep, user: UserDep, share: ShareDep
) -> SessionBody:
    """What ``export`` gave as JSON becomes a new session with messages of its own.

    The same file within ten minutes is the same import: who gets a 503 because it takes long asks
    again and waits for it. Where its session was there already the answer is 200 with
    ``Idempotency-Replayed: true``, and the session as it is now. With another ``Idempotency-Key``
    it is another session at once.
    """
    key = check_key(request.headers.getlist(KEY_HEADER)) or ""
    body = await read_file(request, state, state["max_import_bytes"], share)
    carried = state["broker"].max_payload
    async with state["files"].place():
        command, unknown = await in_thread(partial(read_import, body, user, key, carried))
    del body  # Not to be held for as long as history takes.
    note_ignored(request, unknown)
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
    errors=(400, 404, 409, 413, 503),
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
    errors=(400, 404, 409, 413, 503),
)
async def export_session(
    session_id: str,
    request: Request,
    state: StateDep,
    user: UserDep,
    share: ShareDep,
    form: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Response:
    """JSON has every branch and can be imported; Markdown has the one that is shown.

    ``X-Importable: false`` says that this file is more than an import takes here.
    """
    most = Importable(state["max_import_bytes"], state["broker"].max_payload)
    camel = request.url.path.startswith("/api/")

    def begin(session: Session) -> Draft:
        if form == "markdown":
            return MarkdownDraft(session)
        return JsonDraft(session, most, camel=camel)

    pages = state["sessions"].tree(user, session_id_of(session_id))
    async with state["files"].place(), aclosing(pages):
        title, file = await _written(pages, begin, share)
    kind, ending = _KINDS[form]
    headers = {"Content-Disposition": attachment(title, ending)}
    if form == "json" and not file.importable:
        headers["X-Importable"] = "false"
    # At the pace at which a file must come in.
    time = SendingTime(state["timing"].send_timeout, state["body_deadline"], most.size)
    return FileAnswer(file, share, time, headers, kind)


async def _written(
    pages: AsyncIterator[tuple[Session, Sequence[StoredMessage]]],
    begin: Callable[[Session], Draft],
    share: Share,
) -> tuple[str, File]:
    """A session's title, and its file, of which only the bytes are kept."""
    draft: Draft | None = None
    title = ""
    async for session, messages in pages:
        draft, title = draft or begin(session), session.title
        await in_thread(partial(draft.add, messages))
        share.hold(draft.size)
    assert draft is not None, "a session has a page, though it may be empty"
    file = await in_thread(draft.file)
    share.hold(file.size)
    return title, file
