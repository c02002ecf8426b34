"""Every failure over HTTP: its status, its whole body, and nothing half stored."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from services.api.ports.broker import Service
from services.api.schemas.chat import ChatCompletionRequest
from shared.contracts.chat import CompletionStatus
from shared.errors import BY_CODE
from tests.fakes.api.worker import announcement
from tests.fakes.api.world import FakeWorld, client_of

USER = {"role": "user", "content": "Hello"}
GOOD: dict[str, Any] = {"model": "demo", "messages": [USER]}
COMPLETIONS = "/v1/chat/completions"


class Case(NamedTuple):
    name: str
    body: Any
    param: str | None
    message: str


BAD_REQUESTS = [
    Case("not json", b"{", None, "The body is not valid JSON"),
    Case("empty", b"", None, "The body is empty; it must be a JSON object."),
    Case("a list", b"[]", None, "The body must be a JSON object."),
    Case("not utf-8", b'{"model":"\xff"}', None, "The body is not valid JSON"),
    Case("lone surrogate", b'{"model":"\\ud800"}', None, "The body is not valid JSON"),
    Case("bomb", b"[" * 5000, None, "The body is not valid JSON"),
    Case("deep", b'{"a":' * 200 + b"1" + b"}" * 200, None, "The body nests more than 64"),
    Case("crowd", {**GOOD, "x": [[]] * 60_000}, None, "The body holds more than 50000 lists"),
    Case("crowd of messages", {**GOOD, "messages": [USER] * 60_000}, None, "The body holds more"),
    Case("nan", b'{"temperature":NaN}', None, "The body is not valid JSON"),
    Case("no model", {"messages": [USER]}, "model", "The field model is required."),
    Case("no messages", {"model": "demo"}, "messages", "The field messages is required."),
    Case(
        "empty messages",
        {**GOOD, "messages": []},
        "messages",
        "The field messages must have at least 1 item.",
    ),
    Case(
        "messages text", {**GOOD, "messages": "x"}, "messages", "The field messages must be a list."
    ),
    Case(
        "message number",
        {**GOOD, "messages": [1]},
        "messages.0",
        "The field messages.0 must be an object.",
    ),
    Case(
        "unknown role",
        {**GOOD, "messages": [{"role": "wizard", "content": "x"}]},
        "messages.0.role",
        "The field messages.0.role must be 'developer', 'system', 'user', 'assistant' or 'tool'.",
    ),
    Case(
        "content number",
        {**GOOD, "messages": [{"role": "user", "content": 1}]},
        "messages.0.content",
        "The field messages.0.content must be text.",
    ),
    Case(
        "content that is an object",
        {**GOOD, "messages": [{"role": "user", "content": {"text": 5}}]},
        "messages.0.content",
        "The field messages.0.content must be text.",
    ),
    Case(
        "content null",
        {**GOOD, "messages": [{"role": "user", "content": None}]},
        "messages.0",
        "A message needs content (messages.0).",
    ),
    Case(
        "tool without its call",
        {**GOOD, "messages": [{"role": "tool", "content": "x"}]},
        "messages.0",
        "A tool message needs tool_call_id (messages.0).",
    ),
    Case(
        "image address",
        {
            **GOOD,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
                }
            ],
        },
        "messages.0.content.0.image_url.url",
        "Images are sent as data URLs (data:image/png;base64,...); addresses are not fetched "
        "(messages.0.content.0.image_url.url).",
    ),
    Case(
        "temperature high",
        {**GOOD, "temperature": 2.1},
        "temperature",
        "The field temperature must be at most 2",
    ),
    Case(
        "temperature low",
        {**GOOD, "temperature": -0.1},
        "temperature",
        "The field temperature must be at least 0",
    ),
    Case(
        "temperature text",
        {**GOOD, "temperature": "1"},
        "temperature",
        "The field temperature must be a number.",
    ),
    Case("topP", {**GOOD, "topP": 1.5}, "topP", "The field topP must be at most 1"),
    Case("top_p", {**GOOD, "top_p": 1.5}, "top_p", "The field top_p must be at most 1"),
    Case(
        "presence",
        {**GOOD, "presence_penalty": 3},
        "presence_penalty",
        "The field presence_penalty must be at most 2",
    ),
    Case(
        "max_tokens",
        {**GOOD, "max_tokens": 0},
        "max_tokens",
        "The field max_tokens must be at least 1.",
    ),
    Case(
        "maxTokens",
        {**GOOD, "maxTokens": 1.5},
        "maxTokens",
        "The field maxTokens must be a whole number.",
    ),
    Case("stops", {**GOOD, "stop": ["a"] * 5}, "stop", "The field stop must have at most 4 items."),
    Case("n", {**GOOD, "n": 2}, "n", "The field n must be at most 1."),
    Case(
        "stream text",
        {**GOOD, "stream": "yes"},
        "stream",
        "The field stream must be true or false.",
    ),
    Case("session id", {**GOOD, "sessionId": "7"}, "sessionId", "A session id is a UUID."),
    Case("session_id", {**GOOD, "session_id": "7"}, "session_id", "A session id is a UUID."),
    Case("model number", {**GOOD, "model": 5}, "model", "The field model must be text."),
    Case(
        "model empty",
        {**GOOD, "model": ""},
        "model",
        "The field model must have at least 1 character.",
    ),
    Case(
        "model long",
        {**GOOD, "model": "m" * 257},
        "model",
        "The field model must have at most 256 characters.",
    ),
    Case("model newline", {**GOOD, "model": "a\nb"}, "model", "A model's name holds no"),
    Case(
        "NUL in text",
        {**GOOD, "messages": [{"role": "user", "content": "a\0b"}]},
        "messages.0.content",
        "Text must not hold the character U+0000.",
    ),
    Case("NUL in a key", {**GOOD, "x\0y": 1}, None, "Text must not hold the character U+0000."),
    Case("tool number", {**GOOD, "tools": [5]}, "tools.0", "The field tools.0 must be an object."),
    Case(
        "format",
        {**GOOD, "response_format": {"type": "xml"}},
        "response_format.type",
        "The field response_format.type must be 'text', 'json_object' or",
    ),
]


@pytest.mark.parametrize("case", BAD_REQUESTS, ids=lambda case: case.name)
async def test_a_bad_request_is_400_and_says_where(case: Case) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        if isinstance(case.body, bytes):
            response = await client.post(COMPLETIONS, content=case.body)
        else:
            response = await client.post(COMPLETIONS, json=case.body)

    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"].startswith(case.message)
    assert error == {
        "message": error["message"],
        "type": "invalid_request_error",
        "param": case.param,
        "code": "invalid_request",
    }
    assert response.headers["x-request-id"]
    assert world.journal.accepted_events == []


@pytest.mark.parametrize(
    "body",
    [
        {**GOOD, "messages": [0] * 100},
        {**GOOD, "messages": [{"role": "user", "content": [0] * 100}]},
        {**GOOD, "messages": [{"role": "assistant", "tool_calls": [0] * 100}]},
        {**GOOD, "tools": [0] * 100},
        {**GOOD, "stop": [0] * 100},
    ],
)
def test_of_many_mistakes_only_the_first_is_looked_for(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatCompletionRequest.model_validate(body)
    assert caught.value.error_count() == 1


async def test_a_bad_value_is_never_echoed() -> None:
    async with client_of(FakeWorld()) as client:
        secret = {**GOOD, "messages": [{"role": "sk-secret", "content": "x"}], "n": "sk-secret"}
        response = await client.post(COMPLETIONS, json=secret)
    assert "sk-secret" not in response.text


async def test_a_body_over_the_limit_is_413_declared_or_not() -> None:
    world = FakeWorld()

    async def parts() -> AsyncGenerator[bytes]:
        for _ in range(8):
            yield b" " * 2**20

    async with client_of(world) as client:
        declared = await client.post(COMPLETIONS, content=b" " * (6 * 2**20 + 1))
        counted = await client.post(COMPLETIONS, content=parts())
    for response in (declared, counted):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert "6291456" in response.json()["error"]["message"]


FAILED_ENDS = [
    ("context_length_exceeded", 400, "invalid_request_error"),
    ("invalid_request", 400, "invalid_request_error"),
    ("model_not_found", 404, "invalid_request_error"),
    ("engine_error", 502, "server_error"),
    ("engine_unavailable", 503, "server_error"),
    ("engine_busy", 503, "server_error"),
    ("engine_timeout", 504, "server_error"),
    ("worker_lost", 502, "server_error"),
    ("deadline_exceeded", 504, "server_error"),
    ("a_code_of_a_newer_worker", 500, "server_error"),
]


@pytest.mark.parametrize(("code", "status", "kind"), FAILED_ENDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_the_first_token_is_a_status(
    code: str, status: int, kind: str, stream: bool
) -> None:
    world = FakeWorld()
    world.answer(status=CompletionStatus.FAILED, code=code, message="so it is")
    async with client_of(world) as client:
        response = await client.post(COMPLETIONS, json={**GOOD, "stream": stream})

    assert response.status_code == status
    shown = code if code in BY_CODE else "internal_error"
    assert response.json() == {
        "error": {"message": "so it is", "type": kind, "param": None, "code": shown}
    }
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("status", "http", "code"),
    [
        (CompletionStatus.CANCELLED, 409, "cancelled"),
        (CompletionStatus.EXPIRED, 504, "deadline_exceeded"),
        (CompletionStatus.FAILED, 502, "worker_lost"),
    ],
)
async def test_every_way_to_end_has_a_status(
    status: CompletionStatus, http: int, code: str
) -> None:
    world = FakeWorld()
    world.answer(status=status)
    async with client_of(world) as client:
        response = await client.post(COMPLETIONS, json=GOOD)
    assert response.status_code == http
    assert response.json()["error"]["code"] == code


def _no_worker(world: FakeWorld) -> None:
    world.workers.service = Service.NOBODY
    world.known_models.names.add("demo")


def _hung_worker(world: FakeWorld) -> None:
    world.workers.service = Service.SILENT
    world.catalog.remove(announcement().worker_id)
    world.known_models.names.add("demo")


def _no_model(world: FakeWorld) -> None:
    world.workers.service = Service.NOBODY


def _queue_full(world: FakeWorld) -> None:
    world.queue.full = True


def _backlog(world: FakeWorld) -> None:
    world.backlog.full = True


def _journal_full(world: FakeWorld) -> None:
    world.journal.full = True


def _broker_away(world: FakeWorld) -> None:
    world.broker.connected = False


def _queue_away(world: FakeWorld) -> None:
    world.queue.away = True


def _stopping(world: FakeWorld) -> None:
    world.drain.begin()


def _small_broker(world: FakeWorld) -> None:
    world.broker.max_payload = 1100


REFUSALS = [
    (_no_worker, 503, "server_error", "no_worker", "model"),
    (_hung_worker, 503, "server_error", "no_worker", "model"),
    (_no_model, 404, "invalid_request_error", "model_not_found", "model"),
    (_queue_full, 429, "rate_limit_error", "queue_full", None),
    (_backlog, 503, "server_error", "history_backlog", None),
    (_journal_full, 503, "server_error", "history_backlog", None),
    (_broker_away, 503, "server_error", "broker_unavailable", None),
    (_queue_away, 503, "server_error", "broker_unavailable", None),
    (_stopping, 503, "server_error", "server_shutdown", None),
    (_small_broker, 413, "invalid_request_error", "request_too_large", None),
]


@pytest.mark.parametrize(("arrange", "status", "kind", "code", "param"), REFUSALS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_leaves_an_end_or_nothing_at_all(
    arrange: Callable[[FakeWorld], None],
    status: int,
    kind: str,
    code: str,
    param: str | None,
    stream: bool,
) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        arrange(world)
        response = await client.post(COMPLETIONS, json={**GOOD, "stream": stream})

    assert response.status_code == status
    error = response.json()["error"]
    assert error == {"message": error["message"], "type": kind, "param": param, "code": code}
    assert ("retry-after" in response.headers) == (status == 429)
    assert "x-should-retry" not in response.headers
    accepted = {event.completion_id for event in world.journal.accepted_events}
    assert accepted == set(world.journal.ends)
    assert all(end.status is CompletionStatus.REJECTED for end in world.journal.ends.values())
    assert response.headers["x-completion-id"].startswith("chatcmpl-")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", COMPLETIONS, 405, "method_not_allowed"),
        ("GET", "/v1/models/none", 404, "model_not_found"),
        ("GET", "/api/chat/sessions/7/", 400, "invalid_request"),
        ("PUT", "/api/chat/sessions/7/", 400, "invalid_request"),
        ("DELETE", "/api/chat/sessions/7/", 400, "invalid_request"),
        (
            "GET",
            "/api/chat/sessions/0196f000-0000-7000-8000-000000000000/",
            404,
            "session_not_found",
        ),
        ("GET", "/api/chat/sessions/?limit=0", 400, "invalid_request"),
        ("GET", "/api/chat/sessions/?limit=x", 400, "invalid_request"),
    ],
)
async def test_every_address_has_the_one_error_body(
    method: str, path: str, status: int, code: str
) -> None:
    async with client_of(FakeWorld()) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == code
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/ai-chat/api/sessions/", "GET, POST"),
        ("/api/chat/sessions/7/", "GET, PUT, PATCH, DELETE"),
        ("/api/chat/presets/7", "GET, PUT, PATCH, DELETE"),
        ("/api/chat/preferences/", "GET, PUT, PATCH"),
        (COMPLETIONS, "POST"),
    ],
)
async def test_a_405_names_all_methods_of_its_address(path: str, methods: str) -> None:
    async with client_of(FakeWorld()) as client:
        for method in ("OPTIONS", "TRACE"):
            reply = await client.request(method, path)
            assert (reply.status_code, reply.headers["allow"]) == (405, methods)


async def test_a_mistake_of_ours_is_500_without_a_word_of_the_inside() -> None:
    world = FakeWorld()

    def explode(_command: object) -> None:
        message = "secret detail"
        raise RuntimeError(message)

    world.queue.on_request = explode
    async with client_of(world) as client:
        response = await client.post(COMPLETIONS, json=GOOD, headers={"X-Request-Id": "mine"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "mine"


async def test_an_unknown_session_is_404_and_nothing_is_stored() -> None:
    world = FakeWorld()
    body = {**GOOD, "sessionId": "0196f000-0000-7000-8000-000000000000"}
    async with client_of(world) as client:
        response = await client.post(COMPLETIONS, json=body)
        world.history.away = True
        away = await client.post(COMPLETIONS, json=body)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "session_not_found"
    assert away.status_code == 503
    assert away.json()["error"]["code"] == "history_unavailable"
    assert world.journal.accepted_events == []
    assert world.turns.entries == {}
