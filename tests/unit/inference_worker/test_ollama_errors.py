"""Ollama's errors in the house's words."""

import json

import httpx
import ollama
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from services.inference_worker.adapters.ollama_errors import translated
from shared.errors import (
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

RUNNER = {
    "error": {
        "code": 400,
        "message": "request (700 tokens) exceeds the available context size (512 tokens)",
        "type": "exceed_context_size_error",
    }
}


def _not_valid(line: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        ollama.ChatResponse.model_validate_json(line)
    return caught.value


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "model 'x' not found", ModelNotFound),
        (503, "server busy, please try again", EngineBusy),
        (400, "registry/x does not support tools", InvalidRequest),
        (400, "the input length exceeds the context length", ContextLengthExceeded),
        (400, "the prompt is longer than the context length", ContextLengthExceeded),
        (500, "invalid JSON schema in format", InvalidRequest),
        (500, "failed to load model vocabulary required for format: grammar", InvalidRequest),
        (500, "llama runner process has terminated", EngineError),
        (-1, "an error line in the middle", EngineError),
    ],
)
def test_a_refusal_has_the_class_that_tells_what_to_do(
    status: int, text: str, kind: type[Exception]
) -> None:
    error = translated(ollama.ResponseError(text, status), begun=False)
    assert type(error) is kind
    assert error.message[0].isupper()
    assert error.message.endswith(".")


@pytest.mark.parametrize("text", ["registry/x does not support tools", "so it is not."])
def test_what_only_the_engine_knows_is_quoted(text: str) -> None:
    error = translated(ollama.ResponseError(text, 400), begun=False)
    assert error.message == f"The engine refused the request: {text.rstrip('.')}."


@pytest.mark.parametrize(
    "text",
    [
        "request (75004 tokens) exceeds the available context size (32768 tokens), try increasing",
        "the input length exceeds the context length",
    ],
)
def test_a_prompt_that_is_too_long_is_told_with_what_to_do(text: str) -> None:
    error = translated(ollama.ResponseError(text, 400), begun=False)
    assert type(error) is ContextLengthExceeded
    assert "shorten it" in error.message
    assert text not in error.message
    numbers = [number in error.message for number in ("75004", "32768")]
    assert numbers == ["tokens" in text] * 2


def test_an_error_of_the_runner_is_taken_out_of_its_wrapping() -> None:
    wrapped = json.dumps({"error": json.dumps(RUNNER)})
    error = translated(ollama.ResponseError(wrapped, 400), begun=False)
    assert type(error) is ContextLengthExceeded
    assert "700 tokens" in error.message
    assert "512" in error.message


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), ConnectionResetError("reset")])
def test_a_connection_that_breaks_before_the_first_word_is_an_engine_that_is_away(
    error: Exception,
) -> None:
    with capture_logs() as logs:
        away, broken = translated(error, begun=False), translated(error, begun=True)
    assert (type(away), type(broken)) == (EngineUnavailable, EngineError)
    for told in (away, broken):
        assert type(error).__name__ not in told.message
        assert str(error) not in told.message
    assert [str(error) in line["error"] for line in logs] == [True, True]


@pytest.mark.parametrize(
    "error",
    [
        ollama.ResponseError("x" * 10_000, 500),
        ollama.ResponseError('{"error": "bad \\ud800"}', 500),
        ollama.ResponseError('{"error": {"message": ["odd"]}}', 500),
        httpx.RemoteProtocolError("x" * 10_000),
    ],
)
def test_whatever_an_engine_says_its_error_is_short_and_can_be_sent(error: Exception) -> None:
    message = translated(error, begun=True).message
    assert 0 < len(message) < 600
    assert message.encode()


def test_a_line_that_is_no_json_is_an_engine_error() -> None:
    assert type(translated(ValueError("x"), begun=False)) is EngineError


@pytest.mark.parametrize(
    "error",
    [
        httpx.RemoteProtocolError("illegal chunk header: bytearray(b'tangerine')"),
        ollama.ResponseError("error parsing tool call: raw='tangerine', err=invalid", 500),
        ollama.ResponseError("no such option: tangerine", 400),
        ollama.ResponseError('{"error":{"message":"tangerine"}}', -1),
        _not_valid('{"message":{"role":"assistant","content":["tangerine"]}}'),
        _not_valid('{"message":{"role":"assistant","content":"tangerine, cut'),
        ValueError("tangerine"),
    ],
    ids=str,
)
@pytest.mark.parametrize("begun", [True, False])
def test_what_an_engine_has_said_is_not_logged(error: Exception, begun: bool) -> None:
    with capture_logs() as logs:
        translated(error, begun=begun)
    (line,) = logs
    assert "tangerine" not in str(line)


def test_what_is_known_of_an_engines_errors_is_logged() -> None:
    with capture_logs() as logs:
        translated(
            ollama.ResponseError("model requires more system memory (9 GiB)", 500), begun=False
        )
        translated(_not_valid("[1]"), begun=True)
        translated(httpx.ConnectError("All connection attempts failed"), begun=False)
    refused, unread, away = logs
    assert refused["said"] == "requires more system memory"
    assert refused["status"] == 500
    assert unread["error"] == "ValidationError: model_type"
    assert away["error"] == "ConnectError: All connection attempts failed"
