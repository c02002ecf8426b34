"""``POST /v1/chat/completions/{id}/cancel``: from any gateway, as often as you like."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from services.api.completions.cancellations import CancelOutcome, CancelStatus, no_such_completion
from services.api.completions.failures import body_of
from services.api.completions.idempotency import HEADER as KEY_HEADER
from services.api.completions.idempotency import check_key
from services.api.completions.translation import failure_of
from services.api.deps import StateDep, UserDep
from services.api.schemas.cancel import CancelBody
from services.api.schemas.errors import ErrorBody, ErrorDetail
from services.api.streams.sse import usage_body
from shared.contracts.events import CompletionCompleted
from shared.errors import InvalidRequest

router = APIRouter()

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": CancelBody, "description": "It will end; its worker has not said so yet"},
    404: {"model": ErrorBody},
    503: {"model": ErrorBody},
}


@router.post(
    "/v1/chat/completions/{completion_id}/cancel",
    summary="Cancel a chat completion",
    responses=_ANSWERS,
    response_model_exclude_none=True,
)
async def cancel_completion(
    completion_id: str, state: StateDep, user: UserDep, response: Response
) -> CancelBody:
    """Queued or running, streamed or not; one that has ended already stays as it is."""
    return _answer(await state["cancellations"].cancel(user, completion_id), response)


@router.post(
    "/v1/chat/completions/cancel",
    summary="Cancel a chat completion by its idempotency key",
    responses={**_ANSWERS, 400: {"model": ErrorBody}},
    response_model_exclude_none=True,
)
async def cancel_by_key(
    request: Request, state: StateDep, user: UserDep, response: Response
) -> CancelBody:
    """For a client that was not told the id yet."""
    key = check_key(request.headers.getlist(KEY_HEADER))
    if key is None:
        message = f"Name the completion by its id, or by the header {KEY_HEADER}."
        raise InvalidRequest(message, param=KEY_HEADER)
    completion_id = await state["idempotency"].find(user, key)
    if completion_id is None:
        raise no_such_completion()
    return _answer(await state["cancellations"].stop(completion_id), response)


def _answer(outcome: CancelOutcome, response: Response) -> CancelBody:
    response.headers["X-Completion-Id"] = outcome.completion_id
    if outcome.status is CancelStatus.CANCELLING:
        response.status_code = 202
    end = outcome.end
    return CancelBody(
        id=outcome.completion_id,
        status=outcome.status.value,
        already_ended=outcome.already_ended,
        already_ended_=outcome.already_ended,
        created=int(end.created_at.timestamp()) if end is not None else None,
        model=end.model if end is not None else None,
        usage=usage_body(end.usage) if end is not None and end.usage is not None else None,
        error=_error(end) if outcome.status is CancelStatus.FAILED else None,
    )


def _error(end: CompletionCompleted | None) -> ErrorDetail | None:
    failure = failure_of(end) if end is not None else None
    return ErrorDetail(**body_of(failure)["error"]) if failure is not None else None
