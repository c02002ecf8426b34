"""In front of all routes: which Host, which Origin, which caller.

A route that nobody thought of is closed by this, not open.
"""

from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from services.api.access.addresses import anonymous_id
from services.api.access.caller import Caller
from services.api.access.credentials import header_token, query_values
from services.api.access.gateway_access import GatewayAccess
from services.api.access.identity import HEALTH
from services.api.access.refusals import (
    NotAuthenticated,
    NotPermitted,
    WrongHost,
    WrongOrigin,
)
from services.api.auditing import actor_of, tell_of_refusal
from services.api.completions.scope_keys import CALLER, TOLD
from services.api.error_handlers import answer_of
from services.api.limits.refusals import OverLimit
from services.api.sockets.outlet import NOT_AUTHENTICATED, REASONS, SLOW, TOO_MANY
from services.api.spelling import naming_of
from shared.errors import ChatError
from shared.observability import audit

log = structlog.stdlib.get_logger(__name__)

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Asked by machines that know an address and no name, and answered with one word."""


class Guard:
    """Pure ASGI: it looks at the head of a request and touches nothing of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request or socket pass, or refuse it."""
        if scope["type"] == "http":
            try:
                await self._admit_request(scope)
            except ChatError as error:
                tell_of_refusal(scope, error)
                await answer_of(error, naming_of(scope["path"]))(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            try:
                await self._admit_socket(scope)
            except ChatError as error:
                await _refuse_socket(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit_request(self, scope: Scope) -> None:
        access: GatewayAccess = scope["state"]["access"]
        path, headers = scope["path"], scope["headers"]
        if path not in _PROBES:
            access.origins.check_host(headers)
        if scope["method"] not in _READING:
            access.origins.check_origin(headers)
        if path in HEALTH:
            scope[CALLER] = await access.identity.greet(_quietly(scope))
            return
        token = header_token(headers)
        ticket = _ticket(scope) if token is None and _takes_tickets(scope) else None
        if ticket is not None:
            caller = await _redeem(scope, ticket)
        else:
            caller = await access.identity.identify(path, token, access.address_of(scope))
        scope[CALLER] = caller
        access.departures.check(caller.user_id)
        bind_contextvars(user=caller.user_id)
        if not path.startswith("/v1/"):
            # Nothing there is an administrative act, and answers should begin soon.
            audit.ACTOR.set(actor_of(scope))

    async def _admit_socket(self, scope: Scope) -> None:
        access: GatewayAccess = scope["state"]["access"]
        headers = scope["headers"]
        access.origins.check_host(headers)
        access.origins.check_origin(headers)
        token = header_token(headers)
        ticket = _ticket(scope) if token is None else None
        if ticket is not None:
            scope[CALLER] = caller = await _redeem(scope, ticket)
        else:
            if token is None:
                # Browsers cannot set headers of sockets.
                token = query_values(scope["query_string"]).get("token") or None
            scope[CALLER] = caller = await access.identity.identify(
                scope["path"], token, access.address_of(scope)
            )
        access.departures.check(caller.user_id)


async def _redeem(scope: Scope, ticket: str) -> Caller:
    # Each is looked up at the broker, and who it is of is known only then.
    state = scope["state"]
    access: GatewayAccess = state["access"]
    state["limits"].pace.count(anonymous_id(access.address_of(scope)))
    return await access.identity.redeem(ticket)


def _takes_tickets(scope: Scope) -> bool:
    """Whether it is what an ``EventSource`` asks for."""
    path: str = scope["path"]
    return scope["method"] == "GET" and path.startswith("/v1/chat/completions/")


def _ticket(scope: Scope) -> str | None:
    query = scope["query_string"]
    return query_values(query).get("ticket") or None if b"ticket=" in query else None


def _quietly(scope: Scope) -> str | None:
    try:
        return header_token(scope["headers"])
    except NotAuthenticated:
        return None


async def _refuse_socket(error: ChatError, scope: Scope, receive: Receive, send: Send) -> None:
    tell_of_refusal(scope, error)
    if TOLD not in scope:
        log.info("socket_refused", code=error.code, closed=SLOW)
    await receive()
    if isinstance(error, (WrongHost, WrongOrigin)):
        # Before it is accepted: an answer like any other.
        await answer_of(error, naming_of(scope["path"]))(scope, receive, send)
        return
    # Browsers tell their page the code of a socket that was open, and nothing of one that was not.
    await send({"type": "websocket.accept"})
    code = NOT_AUTHENTICATED if isinstance(error, (NotAuthenticated, NotPermitted)) else SLOW
    if isinstance(error, OverLimit):
        code = TOO_MANY
    await send({"type": "websocket.close", "code": code, "reason": REASONS[code]})
