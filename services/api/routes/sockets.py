"""``/ws/ai-chat/session/{id}``: requirements 5.

The guard in front of all routes has looked at the token, which may come as ``?token=`` too.
"""

import time
from typing import Final, cast

import structlog
from fastapi import APIRouter, WebSocket

from services.api.access.caller import Caller
from services.api.auditing import tell_of_closing
from services.api.completions.orders import Order
from services.api.completions.scope_keys import CALLER
from services.api.completions.translation import message_from
from services.api.deps import State
from services.api.limits.refusals import OverLimit
from services.api.parsing import parse_body
from services.api.routes.socket_connection import MANY_SOCKETS, Handler, refuse, turn_away
from services.api.routes.socket_parts import attended, connection_of, outlet_of
from services.api.routes.turns import message_id_of
from services.api.schemas.sockets import (
    ConnectionEstablished,
    Resume,
    SendMessage,
    StopGeneration,
    Typing,
)
from services.api.sessions.turns import Wanted
from services.api.sockets.outlet import (
    BAD_ADDRESS,
    NO_SESSION,
    SLOW,
    TOO_MANY,
    Outlet,
)
from services.api.sockets.room import Room
from shared.contracts.history import GetSession
from shared.contracts.ids import CompletionId, SessionId, is_completion_id, parse_session_id
from shared.errors import ChatError, CompletionNotFound, InvalidRequest, SessionNotFound

router = APIRouter()
log = structlog.stdlib.get_logger(__name__)

_NO_ID: Final = InvalidRequest("The address names no session: its id is no UUID.")


@router.websocket("/ws/ai-chat/session/{session_id}")
async def session_socket(websocket: WebSocket, session_id: str) -> None:
    """Everything that happens in one session; ``?full_content=false`` leaves that field out.

    ``?presence=true`` tells how many sockets the session has, whenever that changes;
    ``?join=false`` does not repeat what has been said of a running answer: ``resume`` asks for it.
    """
    state = cast("State", websocket.scope["state"])
    caller: Caller = websocket.scope[CALLER]
    await websocket.accept()
    parsed = parse_session_id(session_id)
    if parsed is None:
        await turn_away(websocket, BAD_ADDRESS, "bad_address", _NO_ID)
        return
    with state["sockets"].counted(caller.user_id) as counted:
        if not counted:
            tell_of_closing(websocket.scope, "too_many_sockets")
            await turn_away(websocket, TOO_MANY, "too_many_sockets", MANY_SOCKETS)
            return
        await _serve_session(websocket, state, caller, parsed)


async def _serve_session(
    websocket: WebSocket, state: State, caller: Caller, session_id: SessionId
) -> None:
    user = caller.user_id
    outlet = outlet_of(websocket, state)
    try:
        # It asks no less of others than reading the session does.
        state["limits"].pace.count(user)
        room = await state["rooms"].enter(user, session_id)
    except ChatError as error:
        code = TOO_MANY if isinstance(error, OverLimit) else SLOW
        await refuse(websocket, error, code, session_id)
        return
    room.audience.expect(outlet)
    try:
        # Only now: what is deleted after this look is heard of.
        await state["sessions"].page_of(GetSession(user_id=user, session_id=session_id, limit=1))
    except BaseException as error:
        await state["rooms"].leave(room, outlet)
        if not isinstance(error, ChatError):
            raise
        code = NO_SESSION if isinstance(error, SessionNotFound) else SLOW
        await refuse(websocket, error, code, session_id)
        return
    began = time.monotonic()
    log.info("socket_connected", socket=outlet.name, session_id=session_id)
    try:
        outlet.send(ConnectionEstablished(session_id=session_id))
        room.enter(outlet, join=websocket.query_params.get("join") != "false")
        with attended(websocket, state, caller, outlet):
            handlers = _handlers(state, caller, room, outlet)
            await connection_of(websocket, outlet, state, caller, handlers).serve()
    finally:
        await state["rooms"].leave(room, outlet)
        log.info(
            "socket_disconnected",
            socket=outlet.name,
            session_id=session_id,
            code=outlet.close_code,
            seconds=round(time.monotonic() - began, 3),
        )


def _handlers(state: State, caller: Caller, room: Room, outlet: Outlet) -> dict[str, Handler]:
    rooms = state["rooms"]

    def send_message(data: bytes) -> None:
        wanted = parse_body(data, SendMessage)
        parent = (
            message_id_of(wanted.parent_id, "parent_id") if wanted.parent_id is not None else None
        )
        message = message_from(wanted.message)

        async def plan(turn: Wanted) -> Order:
            asked = turn._replace(may_ask=caller.may_ask)
            order = await state["turns"].send(asked, message=message, parent_id=parent)
            caller.check_model(order.model)
            return order

        rooms.ask(room, outlet, plan, wanted.settings(), caller)

    def typing(data: bytes) -> None:
        rooms.typing(room, outlet, begun=parse_body(data, Typing).type == "typing")

    def stop(data: bytes) -> None:
        wanted = parse_body(data, StopGeneration).completion_id
        rooms.stop(room, outlet, _completion_id(wanted) if wanted is not None else None)

    def resume(data: bytes) -> None:
        wanted = parse_body(data, Resume)
        rooms.resume(room, outlet, _completion_id(wanted.completion_id), wanted.after)

    return {
        "send_message": send_message,
        "typing": typing,
        "stop_typing": typing,
        "stop_generation": stop,
        "resume": resume,
    }


def _completion_id(text: str) -> CompletionId:
    if not is_completion_id(text):
        raise CompletionNotFound("This completion does not exist.", param="completion_id")
    return CompletionId(text)
