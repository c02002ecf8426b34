"""What both sockets need: an outlet, a connection, and an end with the caller's credentials."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from fastapi import WebSocket

from services.api.access.caller import Caller
from services.api.auditing import tell_of_closing, tell_of_refusal
from services.api.deps import State
from services.api.routes.socket_connection import Handler, SocketConnection
from services.api.sockets.outlet import NOT_AUTHENTICATED, Outlet


@contextmanager
def attended(websocket: WebSocket, state: State, caller: Caller, outlet: Outlet) -> Generator[None]:
    """Close it when its caller's credentials end."""
    presence = state["access"].presence

    def gone() -> None:
        tell_of_closing(websocket.scope, "credentials_ended")
        outlet.close(NOT_AUTHENTICATED)

    visit = presence.enter(caller, gone, until_expiry=True)
    try:
        yield
    finally:
        presence.leave(caller, visit)


def outlet_of(websocket: WebSocket, state: State) -> Outlet:
    """As its address asks for."""
    return Outlet(
        secrets.token_hex(8),
        full=websocket.query_params.get("full_content") != "false",
        clock=state["clock"].monotonic,
        presence=websocket.query_params.get("presence") == "true",
        refused=partial(tell_of_refusal, websocket.scope),
    )


def connection_of(
    websocket: WebSocket,
    outlet: Outlet,
    state: State,
    caller: Caller,
    handlers: dict[str, Handler],
) -> SocketConnection:
    """Ready to be served."""
    return SocketConnection(
        websocket,
        outlet,
        handlers=handlers,
        timing=state["sockets"].timing,
        drain=state["drain"],
        count=partial(state["limits"].pace.count, caller.user_id),
    )
