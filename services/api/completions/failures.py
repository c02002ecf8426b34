"""How a failure reads, over HTTP and inside a stream: pure, and without any status."""

from typing import Any, Final

from services.api.access.refusals import NotAuthenticated, NotPermitted, WrongHost, WrongOrigin
from services.api.limits.refusals import OverBudget
from services.api.spelling import AS_IT_IS, Naming, told
from shared.errors import (
    Cancelled,
    ChatError,
    CompletionNotFound,
    FramesGone,
    InvalidRequest,
    KeyNotFound,
    KeyReused,
    MessageNotFound,
    ModelNotFound,
    PresetNotFound,
    QueueFull,
    RateLimited,
    SessionBusy,
    SessionNotFound,
    VersionConflict,
)

_CLIENT: Final = (
    InvalidRequest,
    ModelNotFound,
    SessionNotFound,
    MessageNotFound,
    PresetNotFound,
    KeyNotFound,
    WrongHost,
    VersionConflict,
    CompletionNotFound,
    FramesGone,
    KeyReused,
    SessionBusy,
    Cancelled,
)


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """The one error body, all four keys."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: ChatError, naming: Naming = AS_IT_IS) -> dict[str, Any]:
    """The error body of a failure, with the names that its client knows."""
    message, param = told(error, naming)
    return error_body(message, _type_of(error), param, error.code)


def internal_error_body() -> dict[str, Any]:
    """The body for what should not happen: says nothing of the inside."""
    return error_body("Something went wrong in the gateway.", "server_error", None, ChatError.code)


def _type_of(error: ChatError) -> str:
    if isinstance(error, RateLimited):
        return error.kind
    if isinstance(error, OverBudget):
        return error.code
    if isinstance(error, QueueFull):
        return "rate_limit_error"
    if isinstance(error, NotAuthenticated):
        return "authentication_error"
    if isinstance(error, (NotPermitted, WrongOrigin)):
        return "permission_error"
    return "invalid_request_error" if isinstance(error, _CLIENT) else "server_error"
