"""``/ws/ai-chat/sessions``: the list of a user's sessions, as it changes."""

import time
from typing import Any, Final, cast

import orjson
import structlog
from fastapi import APIRouter, Response, WebSocket

from services.api.access.caller import Caller
from services.api.auditing import tell_of_closing
from services.api.completions.failures import error_body
from services.api.completions.scope_keys import CALLER
from services.api.deps import State
from services.api.limits.refusals import OverLimit
from services.api.routes.socket_connection import MANY_SOCKETS, note_refusal, refuse, turn_away
from services.api.routes.socket_parts import attended, connection_of, outlet_of
from services.api.schemas.sockets import LIST_ESTABLISHED, ConnectionEstablished
from services.api.sockets.list_feed import ListFeed
from services.api.sockets.outlet import RESTART, SLOW, TOO_MANY
from shared.contracts.history import GetSession, Session
from shared.contracts.ids import SessionId
from shared.errors import ChatError

router = APIRouter()
log = structlog.stdlib.get_logger(__name__)

_NO_SUCH: Final[dict[str, Any]] = error_body(
    "There is no socket at this address; there are /ws/ai-chat/session/{id}/ and "
    "/ws/ai-chat/sessions/.",
    "invalid_request_error",
    None,
    "not_found",
)


@router.websocket("/ws/ai-chat/sessions")
async def list_socket(websocket: WebSocket) -> None:
    """The user's sessions as they come, change and go."""
    state = cast("State", websocket.scope["state"])
    caller: Caller = websocket.scope[CALLER]
    await websocket.accept()
    with state["sockets"].counted(caller.user_id) as counted:
        if not counted:
            tell_of_closing(websocket.scope, "too_many_sockets")
            await turn_away(websocket, TOO_MANY, "too_many_sockets", MANY_SOCKETS)
            return
        await _serve_list(websocket, state, caller)


@router.websocket("/{path:path}")
async def no_socket(websocket: WebSocket) -> None:
    """There are two sockets; a client that has the wrong address is told so."""
    note_refusal(None, "not_found")
    await websocket.send_denial_response(
        Response(orjson.dumps(_NO_SUCH), 404, media_type="application/json")
    )


async def _serve_list(websocket: WebSocket, state: State, caller: Caller) -> None:
    outlet = outlet_of(websocket, state)

    async def read(session_id: SessionId) -> Session | None:
        query = GetSession(user_id=caller.user_id, session_id=session_id, limit=1)
        return (await state["sessions"].page_of(query)).session

    feed = ListFeed(read, state["background"], outlet.send)
    try:
        state["limits"].pace.count(caller.user_id)
        # What was missed cannot be told: its client reads the list again when it comes back.
        listening = await state["live"].listen(
            caller.user_id, None, feed.heard, lambda: outlet.close(RESTART)
        )
    except ChatError as error:
        await refuse(websocket, error, TOO_MANY if isinstance(error, OverLimit) else SLOW)
        return
    began = time.monotonic()
    log.info("socket_connected", socket=outlet.name)
    try:
        outlet.send(ConnectionEstablished(message=LIST_ESTABLISHED))
        with attended(websocket, state, caller, outlet):
            await connection_of(websocket, outlet, state, caller, {}).serve()
    finally:
        await listening.close()
        log.info(
            "socket_disconnected",
            socket=outlet.name,
            code=outlet.close_code,
            seconds=round(time.monotonic() - began, 3),
        )
