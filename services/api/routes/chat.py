"""``POST /v1/chat/completions``, streamed and whole."""

from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from services.api.access.caller import Caller
from services.api.access.refusals import NotAuthenticated
from services.api.completions.attaching import Starter
from services.api.completions.idempotency import HEADER as KEY_HEADER
from services.api.completions.idempotency import check_key, digest_of
from services.api.completions.orders import Order
from services.api.completions.translation import to_order
from services.api.deps import (
    StateDep,
    name_completion,
    permitted,
    read_body,
)
from services.api.metering import GeneratingCallerDep
from services.api.parsing import parse_body
from services.api.ports.keys import KeyEntry
from services.api.routes.faces import STREAM
from services.api.routes.ignoring import note_ignored, note_unavailable_tools
from services.api.routes.keyed import starter_of
from services.api.routes.streamed import StreamedAnswer
from services.api.routes.whole import WholeAnswer
from services.api.schemas.chat import ChatCompletionRequest
from services.api.schemas.errors import ErrorBody
from services.api.streams.numbering import RESUME_HEADER, wants_ids
from shared.contracts.ids import new_completion_id

router = APIRouter()

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ChatCompletionRequest"}}
        },
    }
}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorBody}
    for status in (400, 401, 404, 409, 413, 422, 429, 500, 502, 503, 504)
}


@router.post(
    "/v1/chat/completions",
    summary="Create a chat completion",
    openapi_extra=_BODY,
    responses={**_ERRORS, **STREAM},
)
async def create_completion(
    request: Request, state: StateDep, caller: GeneratingCallerDep
) -> Response:
    """OpenAI's chat completion; with ``sessionId`` the turn is stored in that session."""
    completion_id = new_completion_id()
    name_completion(request, completion_id)
    key = check_key(request.headers.getlist(KEY_HEADER))
    body = await read_body(request, state)
    order, stream, ignored, unavailable = to_order(
        parse_body(body, ChatCompletionRequest),
        completion_id=completion_id,
        created_at=state["clock"].now(),
        user_id=caller.user_id,
    )
    _check(caller, order)
    note_ignored(request, ignored)
    in_session = order.session_id is not None and order.tools
    if in_session and not await state["models"].takes_tools(order.model):
        unavailable = [*unavailable, *(tool.name for tool in order.tools)]
        order = replace(order, tools=())
    order = replace(order, unavailable_tools=unavailable)
    note_unavailable_tools(request, order)
    if wants_ids(request.headers.get(RESUME_HEADER)):
        order = replace(order, resumes=True)
    completions: Starter = state["completions"]
    if key is not None:
        entry = KeyEntry(
            completion_id=completion_id, body=digest_of(body), created_at=order.created_at
        )
        claim = await state["idempotency"].claim(caller.user_id, key, entry)
        order = replace(
            order, completion_id=claim.completion_id, created_at=claim.created_at, keyed=True
        )
        completions = starter_of(claim, request, state)
    background, completions = state["background"], permitted(state, caller, completions)
    if stream:
        return StreamedAnswer(
            order,
            completions=completions,
            background=background,
            clock=state["clock"],
            timing=state["timing"],
        )
    return WholeAnswer(order, completions=completions, background=background, delivery=None)


def _check(caller: Caller, order: Order) -> None:
    """Before a key is claimed for it."""
    caller.check_model(order.model)
    if caller.anonymous and order.session_id is not None:
        raise NotAuthenticated("Sessions need a token.", given=False)
