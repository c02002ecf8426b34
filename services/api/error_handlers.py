"""The only map from errors to HTTP."""

import math
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.api.access.refusals import (
    IdentityUnavailable,
    KeysNotLoaded,
    NotAuthenticated,
    NotPermitted,
    WrongHost,
    WrongOrigin,
)
from services.api.auditing import tell_of_refusal
from services.api.completions.failures import body_of, error_body
from services.api.deps import if_match
from services.api.limits.refusals import OverBudget, OverLimit
from services.api.metering import metered_of
from services.api.problems import sentence_of
from services.api.spelling import Naming, naming_of
from shared import errors
from shared.errors import ChatError


class PreconditionFailed(errors.VersionConflict):
    """The version that has changed was named by ``If-Match``."""


STATUS: Final[dict[type[ChatError], int]] = {
    errors.InvalidRequest: 400,
    NotAuthenticated: 401,
    NotPermitted: 403,
    WrongOrigin: 403,
    WrongHost: 421,
    errors.KeyNotFound: 404,
    errors.UserLeaving: 409,
    KeysNotLoaded: 503,
    IdentityUnavailable: 503,
    errors.PayloadTooLarge: 413,
    errors.ModelNotFound: 404,
    errors.SessionNotFound: 404,
    errors.CompletionNotFound: 404,
    errors.FramesGone: 410,
    errors.KeyReused: 422,
    errors.MessageNotFound: 404,
    errors.PresetNotFound: 404,
    errors.VersionConflict: 409,
    PreconditionFailed: 412,
    errors.SessionBusy: 409,
    errors.Cancelled: 409,
    errors.QueueFull: 429,
    errors.RateLimited: 429,
    OverBudget: 429,
    errors.WorkerLost: 502,
    errors.EngineError: 502,
    errors.EngineUnavailable: 503,
    errors.EngineBusy: 503,
    errors.EngineTimeout: 504,
    errors.DeadlineExceeded: 504,
    errors.NoWorker: 503,
    errors.BrokerUnavailable: 503,
    errors.HistoryUnavailable: 503,
    errors.HistoryBacklog: 503,
    errors.GatewayBusy: 503,
    errors.ServerShutdown: 503,
    ChatError: 500,
}
_RETRY_AFTER: Final[dict[type[ChatError], int]] = {
    errors.QueueFull: 2,
    errors.EngineBusy: 2,
    errors.GatewayBusy: 5,
}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def status_of(error: ChatError) -> int:
    """HTTP status of the nearest class listed in ``STATUS``."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with the one body."""
    app.add_exception_handler(ChatError, _chat_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _query_error)


def _answer(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    return Response(
        orjson.dumps(body), status_code=status, headers=headers, media_type="application/json"
    )


async def _chat_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChatError)
    tell_of_refusal(request.scope, error)
    metered = metered_of(request.scope)
    if metered is not None:
        await metered.tell(error.levels if isinstance(error, OverLimit) else None)
    if isinstance(error, errors.VersionConflict) and if_match(request) is not None:
        error = PreconditionFailed(error.message, param="If-Match")
    return answer_of(error, naming_of(request.url.path))


def answer_of(error: ChatError, naming: Naming) -> Response:
    """The answer that says it, with the names that its client knows."""
    headers = {}
    if isinstance(error, NotAuthenticated):
        # RFC 6750: who has sent no token is told no error.
        why = ', error="invalid_token"' if error.given else ""
        headers["WWW-Authenticate"] = f'Bearer realm="parley"{why}'
    if type(error) in _RETRY_AFTER:
        headers["Retry-After"] = str(_RETRY_AFTER[type(error)])
    if isinstance(error, errors.RateLimited) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if isinstance(error, (errors.Cancelled, OverBudget)):
        # OpenAI's SDKs repeat a 409, and would start again what somebody has just stopped; and a
        # 429, though a month is longer than anybody's patience. So that has no Retry-After either:
        # clients of other makes sleep for as long as that says.
        headers["x-should-retry"] = "false"
    return _answer(body_of(error, naming), status_of(error), headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    code = _CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    body = error_body(f"{HTTPStatus(status).phrase}.", kind, None, code)
    return _answer(body, status, headers)


def _allowed(request: Request) -> list[str]:
    # The framework names the methods of one route, but an address has several.
    routes = request.app.routes
    scope = {name: request.scope[name] for name in ("type", "path", "root_path", "headers")}
    return [
        method
        for method in _METHODS
        if any(it.matches({**scope, "method": method})[0] is Match.FULL for it in routes)
    ]


async def _query_error(request: Request, error: Exception) -> Response:
    # Of a path or a query: bodies are read by ``parsing``.
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    param = str(problem["loc"][-1])
    wrong = errors.InvalidRequest(sentence_of(problem, param), param=param)
    return await _chat_error(request, wrong)
