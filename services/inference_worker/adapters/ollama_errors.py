"""Ollama's errors in the house's words."""

import json
import re
from typing import Final

import httpx
import ollama

from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

# "request (700 tokens) exceeds the available context size (512 tokens)", "the input length exceeds
# the context length", "the prompt is longer than the context length currently available".
_LONGEST: Final = 500
"""Characters of an error: a proxy may answer with a page, and the end must fit into an event."""
_BAD_FORMAT: Final = re.compile(r"invalid (JSON schema|format)|grammar", re.I)
"""A schema that the engine cannot use is a 500 of Ollama's."""
_TOO_LONG: Final = re.compile(r"exceed\w*.*context|context.*exceed|longer than the context", re.I)


def translated(error: Exception, *, begun: bool) -> ChatError:
    """The error of the house for a foreign one.

    Args:
        error: An ``ollama.ResponseError``, ``httpx.HTTPError`` or ``OSError``; any other one means
            that what the engine said could not be understood.
        begun: Whether the engine had said something already.
    """
    if isinstance(error, ollama.ResponseError):
        return _refusal(error.status_code, _text(error.error))
    if isinstance(error, httpx.HTTPError | OSError):
        reason = _clean(f"{type(error).__name__}: {error}").rstrip(": ")
        if begun:
            return EngineError(f"the engine broke off in the middle ({reason})")
        return EngineUnavailable(f"the engine cannot be reached ({reason})")
    return EngineError("the engine said something that is not its protocol")


def _refusal(status: int, text: str) -> ChatError:
    if _TOO_LONG.search(text):
        return ContextLengthExceeded(text, param="messages")
    if status == httpx.codes.NOT_FOUND:
        return ModelNotFound(text, param="model")
    if _BAD_FORMAT.search(text):
        return InvalidRequest(text, param="response_format")
    if status == httpx.codes.BAD_REQUEST:
        return InvalidRequest(text)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return EngineBusy(text)
    return EngineError(text or f"the engine answered with status {status}")


def _text(error: object) -> str:
    """Ollama passes an error of its runner on as JSON in a string."""
    text = error if isinstance(error, str) else json.dumps(error)
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return _clean(text)
    while isinstance(inner, dict) and ("error" in inner or "message" in inner):
        inner = inner.get("error", inner.get("message"))
    return _clean(inner if isinstance(inner, str) else text)


def _clean(text: str) -> str:
    # A lone surrogate, which JSON may hold, cannot be sent on.
    return text[:_LONGEST].encode(errors="replace").decode()
