"""What both sockets need: an outlet, a connection, and an end with the caller's credentials."""

import secrets
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Final

from fastapi import WebSocket

from services.api.access.caller import Caller
from services.api.deps import State
from services.api.routes.socket_connection import Handler, SocketConnection
from services.api.sockets.outlet import NOT_AUTHENTICATED, Outlet
from shared.contracts.ids import CompletionId

_REMEMBERED: Final = 8
"""Completions of one socket that are stopped with its key; a session runs one at a time."""


@contextmanager
def attended(state: State, caller: Caller, outlet: Outlet) -> Generator[deque[CompletionId]]:
    """Close it when its caller's credentials end; gives what to fill with its own completions."""
    presence = state["access"].presence
    asked: deque[CompletionId] = deque(maxlen=_REMEMBERED)

    def gone() -> None:
        outlet.close(NOT_AUTHENTICATED)
        if caller.key_id is not None and not presence.lives(caller.key_id):
            for completion_id in asked:
                stop = state["cancellations"].stop(completion_id)
                state["background"].spawn(stop, "cancel-of-revoked-key")

    visit = presence.enter(caller, gone, until_expiry=True)
    try:
        yield asked
    finally:
        presence.leave(caller, visit)


def outlet_of(websocket: WebSocket, state: State) -> Outlet:
    """As its address asks for."""
    return Outlet(
        secrets.token_hex(8),
        full=websocket.query_params.get("full_content") != "false",
        clock=state["clock"].monotonic,
        presence=websocket.query_params.get("presence") == "true",
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
