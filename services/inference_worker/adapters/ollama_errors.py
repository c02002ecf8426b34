"""Ollama's errors in the house's words."""

import json
import re
from typing import Final

import httpx
import ollama
import pydantic
import structlog

from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

log = structlog.stdlib.get_logger(__name__)

# "request (700 tokens) exceeds the available context size (512 tokens)", "the input length exceeds
# the context length", "the prompt is longer than the context length currently available".
_LONGEST: Final = 500
"""Characters of an error: a proxy may answer with a page, and the end must fit into an event."""
_BAD_FORMAT: Final = re.compile(r"invalid (JSON schema|format)|grammar", re.I)
"""A schema that the engine cannot use is a 500 of Ollama's."""
_FAMILIAR: Final = re.compile(
    r"requires more (?:system )?memory|out of memory|cuda error|runner process has terminated"
    r"|failed to load|does not support \w+|not found|server busy|error parsing tool call"
    r"|unexpected eof|context deadline exceeded",
    re.I,
)
"""What may be logged of an error: the rest of it may quote the prompt or the answer, as that of a
tool call that cannot be parsed does."""
_TOKENS: Final = re.compile(r"\((\d+) tokens\)")
_BOTH: Final = 2
"""Of the prompt and of the window."""
_TOO_LONG: Final = re.compile(r"exceed\w*.*context|context.*exceed|longer than the context", re.I)


def translated(error: Exception, *, begun: bool) -> ChatError:
    """The error of the house for a foreign one.

    Args:
        error: An ``ollama.ResponseError``, ``httpx.HTTPError`` or ``OSError``; any other one means
            that what the engine said could not be understood.
        begun: Whether the engine had said something already.
    """
    if isinstance(error, ollama.ResponseError):
        text = _text(error.error)
        familiar = _FAMILIAR.search(text)
        said = familiar[0].lower() if familiar else None
        log.info("engine_refused", status=error.status_code, said=said)
        return _refusal(error.status_code, text)
    if isinstance(error, httpx.HTTPError | OSError):
        # What a library calls it helps who reads the log, and nobody else.
        log.info("engine_broke_off" if begun else "engine_away", error=_reason(error))
        if begun:
            return EngineError("The engine broke off in the middle of the answer; try again.")
        return EngineUnavailable("The engine cannot be reached; try again in a moment.")
    log.info("engine_not_understood", error=_reason(error))
    return EngineError("The engine said something that is not its protocol.")


def _refusal(status: int, text: str) -> ChatError:
    if _TOO_LONG.search(text):
        return ContextLengthExceeded(_too_long(text), param="messages")
    if status == httpx.codes.NOT_FOUND:
        return ModelNotFound("The engine does not have this model any more.", param="model")
    if _BAD_FORMAT.search(text):
        message = _quoting("The engine cannot use this format", text)
        return InvalidRequest(message, param="response_format")
    if status == httpx.codes.BAD_REQUEST:
        return InvalidRequest(_quoting("The engine refused the request", text))
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return EngineBusy("The engine has too much to do; try again in a moment.")
    return EngineError(_quoting("The engine failed", text or f"it answered with status {status}"))


def _too_long(text: str) -> str:
    numbers = _TOKENS.findall(text)
    what = "The prompt is longer than the model's context window"
    if len(numbers) == _BOTH:
        prompt, window = numbers
        what = f"The prompt has {prompt} tokens, the model's context window only {window}"
    return f"{what}; shorten it, or choose a model with a larger window."


def _quoting(what: str, text: str) -> str:
    # What is wrong with a request only the engine knows: it is quoted, and said who says it.
    room = _LONGEST - len(what) - len(": .")
    return f"{what}: {text[:room].rstrip('. ')}."


def _reason(error: Exception) -> str:
    """What may be logged: what came instead of HTTP or JSON is quoted by who could not read it."""
    name = type(error).__name__
    if isinstance(error, pydantic.ValidationError):
        kinds = {problem["type"] for problem in error.errors(include_input=False)}
        return f"{name}: {', '.join(sorted(kinds))}"
    if isinstance(error, httpx.ConnectError | httpx.TimeoutException | OSError):
        return _clean(f"{name}: {error}").rstrip(": ")
    return name


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
