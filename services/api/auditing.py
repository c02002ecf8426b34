"""What the gateway tells the audit: who acts, and who was refused."""

from typing import Final

from starlette.types import Scope

from services.api.access.caller import Caller
from services.api.access.gateway_access import GatewayAccess
from services.api.access.refusal_log import CLOSED, REFUSED
from services.api.access.refusals import (
    ModelRefused,
    NotAuthenticated,
    NotPermitted,
    WrongHost,
    WrongOrigin,
)
from services.api.completions.scope_keys import CALLER, REQUEST_ID, SENT_REQUEST_ID, TOLD
from services.api.limits.refusals import OverBudget
from shared.contracts.audit import Actor
from shared.errors import ChatError, QueueFull, RateLimited

_REFUSALS: Final = (
    NotAuthenticated,
    NotPermitted,
    WrongHost,
    WrongOrigin,
    RateLimited,
    OverBudget,
    QueueFull,
    ModelRefused,
)
"""401, 403, 421 and 429, and the 404 that hides a model; all else is no word about who asks."""


def actor_of(scope: Scope) -> Actor:
    """Who asks, as far as that is known now."""
    access: GatewayAccess = scope["state"]["access"]
    caller: Caller | None = scope.get(CALLER)
    return Actor(
        user=caller.user_id if caller is not None else None,
        via="http" if scope["type"] == "http" else "websocket",
        key_id=caller.key_id if caller is not None else None,
        address=access.address_of(scope),
        request_id=scope.get(REQUEST_ID),
        sent_request_id=scope.get(SENT_REQUEST_ID),
    )


def tell_of_refusal(scope: Scope, error: ChatError) -> None:
    """Tell it, if it is one; the log has no line of its own for this request then."""
    if isinstance(error, _REFUSALS):
        scope[TOLD] = True
        access: GatewayAccess = scope["state"]["access"]
        code = error.told if isinstance(error, ModelRefused) else error.code
        access.refusals.refused(REFUSED, actor_of(scope), _target(scope), code)


def tell_of_closing(scope: Scope, code: str) -> None:
    """A socket is closed because its caller may no longer be here."""
    access: GatewayAccess = scope["state"]["access"]
    access.refusals.refused(CLOSED, actor_of(scope), _target(scope), code)


def _target(scope: Scope) -> str:
    # Not the path: strangers write what they want into it.
    path = getattr(scope.get("route"), "path", None)
    kind = scope.get("method", "WEBSOCKET")
    return f"{kind} {path}" if path is not None else str(kind)
