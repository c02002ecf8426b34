"""An error names the field that its client has sent, as the address spells it."""

import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import httpx
import pytest

from shared.contracts.chat import CompletionStatus
from tests.fakes.api.world import FakeWorld, client_of

SNAKE, CAMEL = "/ai-chat/api", "/api/chat"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


class Named(NamedTuple):
    """A request, and what its error names on either face."""

    method: str
    path: str
    body: Any
    snake: str | None
    camel: str | None


S, M = "/sessions/{session}", "/sessions/{session}/messages"
SEND = f"{S}/send_message"
CASES = [
    Named("POST", SEND, {"message": "x", "parent_id": UNKNOWN}, "parent_id", "parentId"),
    Named("POST", SEND, {"message": "x", "parentId": "nope"}, "parent_id", "parentId"),
    Named("POST", SEND, {"message": "x", "parent_id": 7}, "parent_id", "parentId"),
    Named("POST", SEND, {"message": "x", "maxTokens": 0}, "max_tokens", "maxTokens"),
    Named("POST", SEND, {"message": "x", "max_tokens": 0}, "max_tokens", "maxTokens"),
    Named("POST", SEND, {}, "message", "message"),
    Named("POST", SEND, {"message": " "}, "message", "message"),
    Named("POST", SEND, {"content": " "}, "content", "content"),
    Named("POST", f"{M}/{UNKNOWN}/regenerate", {}, "message_id", "messageId"),
    Named("GET", f"{M}/{UNKNOWN}", None, "message_id", "messageId"),
    Named("POST", f"{M}/nope/regenerate", {}, "message_id", "messageId"),
    Named("PATCH", f"{M}/{UNKNOWN}", {"message": "x"}, "message_id", "messageId"),
    Named("GET", f"{M}?leaf={UNKNOWN}", None, "leaf", "leaf"),
    Named("GET", f"{M}?leaf=nope", None, "leaf", "leaf"),
    Named("GET", f"{S}?before_depth=0", None, "before_depth", "beforeDepth"),
    Named("GET", f"{S}?beforeDepth=0", None, "before_depth", "beforeDepth"),
    Named("POST", f"{S}/fork", {"message_id": 7}, "message_id", "messageId"),
    Named("GET", "/sessions/7", None, "session_id", "sessionId"),
    Named("GET", f"/sessions/{UNKNOWN}", None, "session_id", "sessionId"),
    Named("POST", f"/sessions/{UNKNOWN}/send_message", {"message": "x"}, "session_id", "sessionId"),
    Named("GET", "/presets/7", None, "preset_id", "presetId"),
    Named("GET", f"/presets/{UNKNOWN}", None, "preset_id", "presetId"),
    Named(
        "POST", "/sessions/import",
        {"format": "parley-session", "messages": [{"id": "1", "role": "user", "content": "x",
         "createdAt": 7000000000000000}]},
        "messages.0.created_at", "messages.0.createdAt",
    ),
    Named(
        "POST", SEND,
        {"message": [{"type": "image_url", "imageUrl": {"url": "http://x/y.png"}}]},
        "message.0.image_url.url", "message.0.image_url.url",
    ),
]  # fmt: skip


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(FakeWorld()) as client:
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path} {case.body}")
@pytest.mark.parametrize("face", [SNAKE, CAMEL])
async def test_an_error_names_what_was_sent_as_its_face_spells_it(
    http: httpx.AsyncClient, face: str, case: Named
) -> None:
    session = (await http.post(f"{face}/sessions/", json={"model": "demo"})).json()["id"]
    path = face + case.path.format(session=session)
    reply = await http.request(case.method, path, json=case.body)
    assert reply.status_code in {400, 404}, reply.text
    error = reply.json()["error"]
    wanted, other = case.snake, case.camel
    if face == CAMEL:
        wanted, other = other, wanted
    assert error["param"] == wanted
    if wanted != other:
        assert str(other) not in error["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_long_is_called_what_its_client_calls_it(stream: bool) -> None:
    world = FakeWorld()
    code, failed = "context_length_exceeded", CompletionStatus.FAILED
    world.answer("a", status=failed, code=code, message="Too long.", param="messages")
    params = {}
    async with client_of(world) as client:
        made = await client.post(f"{SNAKE}/sessions", json={"model": "demo"})
        asked: dict[str, dict[str, object]] = {
            f"{SNAKE}/sessions/{made.json()['id']}/send_message": {"message": "x"},
            "/v1/chat/completions": {
                "model": "demo",
                "messages": [{"role": "user", "content": "x"}],
            },
        }
        for path, body in asked.items():
            reply = await client.post(path, json={**body, "stream": stream})
            text = reply.text
            if stream:
                lines = [line for line in text.splitlines() if line.startswith("data: ")]
                text = lines[-2].removeprefix("data: ")
            params[path.rsplit("/", 1)[1]] = json.loads(text)["error"]["param"]
    assert params == {"send_message": "message", "completions": "messages"}
