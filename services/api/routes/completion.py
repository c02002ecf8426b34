"""``GET /v1/chat/completions/{id}``: an answer as it stands, or its stream from any point."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from services.api.completions.permitted import Attended
from services.api.completions.retrieved import to_standing_body
from services.api.deps import CallerDep, StateDep, add_headers
from services.api.routes.faces import STREAM
from services.api.routes.resumed import ResumedAnswer
from services.api.schemas.errors import ErrorBody
from services.api.streams.numbering import read_cursor

router = APIRouter()

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    204: {"description": "The stream is over, and its reader has all of it"},
    **{status: {"model": ErrorBody} for status in (400, 401, 404, 410, 503)},
}


@router.get(
    "/v1/chat/completions/{completion_id}",
    summary="Read a chat completion, or go on with its stream",
    responses={**_RESPONSES, **STREAM},
)
async def get_completion(
    completion_id: str,
    request: Request,
    state: StateDep,
    caller: CallerDep,
    stream: Annotated[bool, Query()] = False,
    starting_after: Annotated[str | None, Query(max_length=100)] = None,
    starting_after_camel: Annotated[
        str | None, Query(alias="startingAfter", max_length=100, include_in_schema=False)
    ] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)] = None,
) -> Response:
    """Only for who asked for it. The cursor is an event's index, or the id of the last event."""
    named = starting_after if starting_after is not None else starting_after_camel
    after = read_cursor(completion_id, named, last_event_id)
    following = state["following"]
    accepted = await following.find(caller.user_id, completion_id)
    add_headers(request, {"X-Completion-Id": accepted.completion_id})
    if stream or last_event_id:
        return ResumedAnswer(
            accepted,
            after,
            following=following,
            attend=lambda reading: Attended(reading, caller, state["access"].presence),
            clock=state["clock"],
            timing=state["timing"],
        )
    body = to_standing_body(accepted, await following.standing(accepted))
    return Response(orjson.dumps(body), media_type="application/json")
