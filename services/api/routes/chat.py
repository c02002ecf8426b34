"""``POST /v1/chat/completions``, streamed and whole."""

from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from services.api.deps import StateDep, UserDep, add_headers, read_body
from services.api.parsing import parse_body
from services.api.routes.streamed import StreamedAnswer
from services.api.routes.whole import WholeAnswer
from services.api.schemas.chat import ChatCompletionRequest
from services.api.schemas.errors import ErrorBody
from services.api.translation import header_list, to_order
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
    status: {"model": ErrorBody} for status in (400, 404, 409, 413, 429, 500, 502, 503, 504)
}


@router.post(
    "/v1/chat/completions",
    summary="Create a chat completion",
    openapi_extra=_BODY,
    responses=_ERRORS,
)
async def create_completion(request: Request, state: StateDep, user: UserDep) -> Response:
    """OpenAI's chat completion; with ``sessionId`` the turn is stored in that session."""
    completion_id = new_completion_id()
    add_headers(request, {"X-Completion-Id": completion_id})
    body = await read_body(request, state)
    order, stream, ignored, unavailable = to_order(
        parse_body(body, ChatCompletionRequest),
        completion_id=completion_id,
        created_at=state["clock"].now(),
        user_id=user,
    )
    if ignored:
        add_headers(request, {"X-Parley-Ignored": header_list(ignored)})
    if unavailable:
        add_headers(request, {"X-Parley-Unavailable-Tools": header_list(unavailable)})
    if request.headers.get("x-stream-resume", "").lower() == "true":
        order = replace(order, resumes=True)
    completions, background = state["completions"], state["background"]
    if stream:
        return StreamedAnswer(
            order,
            completions=completions,
            background=background,
            clock=state["clock"],
            timing=state["timing"],
        )
    return WholeAnswer(order, completions=completions, background=background, delivery=None)
