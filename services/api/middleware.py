"""Pure ASGI around all routes: it touches the first message of an answer and nothing else."""

import re
import time
from typing import Final

import orjson
import structlog
import uuid_utils
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.api.completions.failures import internal_error_body
from services.api.completions.scope_keys import (
    ANSWER_HEADERS,
    REQUEST_ID,
    SENT_QUERY,
    SENT_REQUEST_ID,
    TOLD,
)

log = structlog.stdlib.get_logger(__name__)

_SANE: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_FACES: Final = ("/api/chat/", "/ai-chat/api/")
_SNAKE_NAME: Final = re.compile(rb"(?:(?<=&)|^)[a-z]+(?:_[a-z]+)+(?==|&|$)")
_UNLOGGED: Final = frozenset({"/healthz", "/readyz"})


class RequestContext:
    """Names each request, forgives a trailing slash, and keeps exceptions from the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
            return
        if scope["type"] == "websocket":
            _drop_trailing_slash(scope)
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _sent_request_id(scope)
        scope[REQUEST_ID] = f"req_{uuid_utils.uuid7().hex}"
        scope[SENT_REQUEST_ID] = sent
        extra = [(b"x-request-id", (sent or scope[REQUEST_ID]).encode())]
        scope[ANSWER_HEADERS] = extra
        _drop_trailing_slash(scope)
        _spell_query(scope)
        began, status = time.perf_counter(), 0

        async def send_first(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        names = {"request_id": scope[REQUEST_ID], **({"sent_request_id": sent} if sent else {})}
        with bound_contextvars(**names):
            try:
                await self._app(scope, receive, send_first)
            except ClientDisconnect:
                log.info("client_gone", during="body")
            except Exception:
                log.exception("unhandled_error", path=scope["path"])
                if status == 0:
                    await _send_internal_error(send_first)
            # Of a flood of refusals the audit has one line with their number.
            if scope["path"] not in _UNLOGGED and TOLD not in scope:
                log.info(
                    "http_request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )


def _sent_request_id(scope: Scope) -> str | None:
    sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
    # Whatever else it is would be said again: in an answer, in logs, in the audit.
    return sent[0].decode() if len(sent) == 1 and _SANE.fullmatch(sent[0]) else None


def _drop_trailing_slash(scope: Scope) -> None:
    # A redirect would lose the body of a POST in many clients.
    # What is no slash on the wire is a part of a name, whose owner is another one.
    path, wire = scope["path"], scope.get("raw_path") or scope["path"].encode()
    slashes = len(wire) - len(wire.rstrip(b"/"))
    if len(path) > 1 and slashes:
        scope["path"] = path[:-slashes] or "/"


def _spell_query(scope: Scope) -> None:
    # Routes name their parameters in camelCase; both faces take either spelling.
    query = scope[SENT_QUERY] = scope["query_string"]
    if b"_" in query and scope["path"].startswith(_FACES):
        scope["query_string"] = _SNAKE_NAME.sub(
            lambda name: to_camel(name[0].decode()).encode(), query
        )


async def _send_internal_error(send: Send) -> None:
    body = orjson.dumps(internal_error_body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
