"""Turns of a session on both faces: send, ask for another answer, word a question anew."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Query, Request, Response

from services.api.access.caller import Caller
from services.api.completions.answers import to_message_body, to_message_list
from services.api.completions.attaching import Starter
from services.api.completions.idempotency import HEADER as KEY_HEADER
from services.api.completions.idempotency import Claim, check_key, digest_of
from services.api.completions.message_cursor import LENGTH, parse_message_cursor
from services.api.completions.orders import Order
from services.api.completions.translation import message_from
from services.api.deps import (
    State,
    StateDep,
    UserDep,
    add_headers,
    name_completion,
    permitted,
    read_body,
)
from services.api.metering import GeneratingCallerDep
from services.api.ports.keys import KeyEntry
from services.api.routes.faces import STREAM, FacedRouter, json_body
from services.api.routes.ignoring import note_unavailable_tools, parsed
from services.api.routes.keyed import starter_of
from services.api.routes.sessions import session_id_of
from services.api.routes.streamed import StreamedAnswer
from services.api.routes.whole_turn import WholeTurn
from services.api.schemas.sessions import MessageBody, MessageListBody
from services.api.schemas.turns import SendMessageRequest, TurnRequest
from services.api.sessions.keyed_turns import KeyedTurns, digest_of_turn
from services.api.sessions.turn_messages import answer_id, question_of
from services.api.sessions.turns import Wanted
from services.api.spelling import naming_of
from services.api.streams.numbering import RESUME_HEADER, wants_ids
from shared.contracts.history import GetSession
from shared.contracts.ids import (
    CompletionId,
    MessageId,
    SessionId,
    UserId,
    new_completion_id,
    parse_session_id,
)
from shared.errors import MessageNotFound

_TURN: Final = (400, 404, 409, 413, 422, 429, 500, 502, 503, 504)
router = FacedRouter("/sessions/{session_id}", errors=_TURN)

_MOST: Final = 1000

Plan = Callable[[Wanted], Awaitable[Order]]


@router.post(
    "/send_message",
    summary="Send a message",
    response_model=None,
    openapi_extra=json_body("SendMessageRequest"),
    responses=STREAM,
)
async def send_message(
    session_id: str, request: Request, state: StateDep, caller: GeneratingCallerDep
) -> Response:
    """The answer, in one piece or with ``stream`` as server-sent events.

    The server builds the context: the system prompt and the newest messages that fit the window.
    """
    session = session_id_of(session_id)
    body = await read_body(request, state)
    wanted = parsed(request, body, SendMessageRequest)
    parent = message_id_of(wanted.parent_id, "parent_id") if wanted.parent_id is not None else None
    message = message_from(wanted.message)
    return await _run(
        request, body, state, caller, session, wanted,
        lambda asked: state["turns"].send(asked, message, parent),
    )  # fmt: skip


@router.get("/messages", summary="List messages", errors=(400, 404, 503))
async def list_messages(
    session_id: str,
    state: StateDep,
    user: UserDep,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=LENGTH)] = None,
    leaf: Annotated[str | None, Query(max_length=64)] = None,
) -> MessageListBody:
    """The newest of the active branch, or of that to ``leaf``; cursors go both ways.

    They stay on the branch of the page that gave them.
    """
    place = parse_message_cursor(cursor, message_id_of(leaf, "leaf") if leaf is not None else None)
    query = GetSession(
        user_id=user,
        session_id=session_id_of(session_id),
        leaf=place.leaf,
        before_depth=place.before_depth,
        after_depth=place.after_depth,
        limit=limit,
    )
    return to_message_list(await state["sessions"].page_of(query), place.leaf)


@router.get("/messages/{message_id}", summary="Read a message", errors=(400, 404, 503))
async def get_message(
    session_id: str, message_id: str, state: StateDep, user: UserDep
) -> MessageBody:
    """On whichever branch it is, with the ids of its siblings."""
    session, message = session_id_of(session_id), message_id_of(message_id)
    return to_message_body(await state["sessions"].message(user, session, message))


@router.post(
    "/messages/{message_id}/regenerate",
    summary="Ask for another answer",
    response_model=None,
    openapi_extra=json_body("TurnRequest", required=False),
    responses=STREAM,
)
async def regenerate(
    session_id: str, message_id: str, request: Request, state: StateDep, caller: GeneratingCallerDep
) -> Response:
    """The former answer stays beside it."""
    session, message = session_id_of(session_id), message_id_of(message_id)
    body = await read_body(request, state)
    wanted = parsed(request, body or b"{}", TurnRequest)
    return await _run(
        request, body, state, caller, session, wanted,
        lambda asked: state["turns"].regenerate(asked, message),
    )  # fmt: skip


@router.patch(
    "/messages/{message_id}",
    summary="Word a question anew",
    response_model=None,
    openapi_extra=json_body("SendMessageRequest"),
    responses=STREAM,
)
async def edit_message(
    session_id: str, message_id: str, request: Request, state: StateDep, caller: GeneratingCallerDep
) -> Response:
    """The former question and its answers stay beside the new one and its answer."""
    session, former = session_id_of(session_id), message_id_of(message_id)
    body = await read_body(request, state)
    wanted = parsed(request, body, SendMessageRequest)
    message = message_from(wanted.message)
    return await _run(
        request, body, state, caller, session, wanted,
        lambda asked: state["turns"].edit(asked, former, message),
    )  # fmt: skip


async def _run(
    request: Request,
    body: bytes,
    state: State,
    caller: Caller,
    session_id: SessionId,
    wanted: TurnRequest,
    plan: Plan,
) -> Response:
    completion_id = new_completion_id()
    name_completion(request, completion_id)
    key = check_key(request.headers.getlist(KEY_HEADER))
    completions: Starter = state["completions"]
    user = caller.user_id

    async def allowed(asked: Wanted) -> Order:
        order = await plan(asked._replace(may_ask=caller.may_ask))
        caller.check_model(order.model)
        return order

    if key is None:
        order = await allowed(Wanted(completion_id, user, session_id, wanted.settings()))
        question = question_of(order)
    else:
        claim = await _claim(request, body, state, user, key, completion_id)
        own = Wanted(claim.completion_id, user, session_id, wanted.settings())
        keyed = KeyedTurns(state["idempotency"], state["journal"])
        claim, order, question = await keyed.order(user, claim, lambda: allowed(own))
        completions = starter_of(claim, request, state)
    headers = {"X-Message-Id": answer_id(order.completion_id)}
    if question is not None:
        headers["X-User-Message-Id"] = question.id
    add_headers(request, headers)
    note_unavailable_tools(request, order)
    completions = permitted(state, caller, completions)
    if not wanted.stream:
        return WholeTurn(
            order,
            completions=completions,
            background=state["background"],
            question=question,
            camel=request.url.path.startswith("/api/"),
        )
    return StreamedAnswer(
        order,
        completions=completions,
        background=state["background"],
        clock=state["clock"],
        timing=state["timing"],
        resumes=wants_ids(request.headers.get(RESUME_HEADER)),
        naming=naming_of(request.url.path),
    )


async def _claim(
    request: Request,
    body: bytes,
    state: State,
    user: UserId,
    key: str,
    completion_id: CompletionId,
) -> Claim:
    # Either face's address names the same turn.
    path = request.url.path.partition("/sessions/")[2]
    entry = KeyEntry(
        completion_id=completion_id,
        body=digest_of_turn(request.method, path, digest_of(body or b"{}")),
        created_at=state["clock"].now(),
    )
    return await state["idempotency"].claim(user, key, entry)


def message_id_of(text: str, param: str = "message_id") -> MessageId:
    """The id in a path, or in the field ``param``; what cannot be one does not exist."""
    parsed = parse_session_id(text)
    if parsed is None:
        raise MessageNotFound("This message does not exist.", param=param)
    return MessageId(parsed)
