"""Completions through the whole way: HTTP, NATS, worker, engine, and back."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e
FAST = "[demo tps=0] "


def ask(text: str, **more: object) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **more}


async def stream(http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[httpx.Response, list[str]]:
    """The response and its SSE lines that are not blank."""
    async with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as reply:
        return reply, [line async for line in reply.aiter_lines() if line]


def chunks_of(lines: list[str]) -> list[dict[str, Any]]:
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if line[0] != ":"]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def test_a_stream_has_the_shape_that_every_document_shows(http: httpx.AsyncClient) -> None:
    reply, lines = await stream(http, ask(FAST + "What is NATS?", temperature=0))

    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache, no-store"
    completion_id = reply.headers["x-completion-id"]
    assert all(line.startswith(("data: ", ":")) for line in lines)
    chunks = chunks_of(lines)
    assert {c["id"] for c in chunks} == {completion_id}
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert {c["model"] for c in chunks} == {"demo"}
    assert len({c["created"] for c in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks[:-1])
    last = chunks[-1]
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == last["choices"][0]["finishReason"] == "stop"
    usage = last["usage"]
    assert usage["prompt_tokens"] == usage["promptTokens"] > 0
    assert usage["completion_tokens"] == usage["completionTokens"] > 0
    assert usage["total_tokens"] == usage["totalTokens"]
    assert "demo" in text_of(chunks).lower()


async def test_the_whole_answer_is_the_streamed_one(http: httpx.AsyncClient) -> None:
    body = ask(FAST + "Tell me about streams", temperature=0, seed=1)
    _, lines = await stream(http, body)

    reply = await http.post("/v1/chat/completions", json=body)

    assert reply.status_code == 200
    answer = reply.json()
    assert answer["object"] == "chat.completion"
    assert answer["id"] == reply.headers["x-completion-id"]
    choice = answer["choices"][0]
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == text_of(chunks_of(lines))
    assert choice["finish_reason"] == choice["finishReason"] == "stop"
    assert answer["usage"]["totalTokens"] == answer["usage"]["total_tokens"] > 0


async def test_camel_case_and_snake_case_requests_mean_the_same(http: httpx.AsyncClient) -> None:
    base = ask(FAST + "Count to fifty", temperature=0)

    camel = await http.post("/v1/chat/completions", json={**base, "maxTokens": 5, "topP": 0.5})
    snake = await http.post("/v1/chat/completions", json={**base, "max_tokens": 5, "top_p": 0.5})
    newest = await http.post("/v1/chat/completions", json={**base, "max_completion_tokens": 5})

    texts = {r.json()["choices"][0]["message"]["content"] for r in (camel, snake, newest)}
    assert len(texts) == 1
    assert camel.json()["choices"][0]["finish_reason"] == "length"
    assert camel.json()["usage"]["completion_tokens"] == 5


async def test_the_request_of_requirements_1_works_word_for_word(http: httpx.AsyncClient) -> None:
    reply = await http.post(
        "/v1/chat/completions",
        json={
            "model": "demo",
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi there!"},
                {"role": "user", "content": "[demo tps=0] And now?"},
            ],
            "temperature": 1.0,
            "topP": 0.95,
            "tools": ["url-context", "image-generation"],
            "stream": False,
        },
    )

    assert reply.status_code == 200, reply.text
    assert "url-context" in reply.headers["x-parley-unavailable-tools"]
    assert reply.json()["choices"][0]["finishReason"] == "stop"
    assert reply.json()["usage"]["promptTokens"] > 0


async def test_unknown_fields_are_accepted_and_named(http: httpx.AsyncClient) -> None:
    reply = await http.post("/v1/chat/completions", json=ask(FAST + "x", mirostat=2, logit_bias={}))

    assert reply.status_code == 200
    assert "mirostat" in reply.headers["x-parley-ignored"]


async def test_a_stop_string_ends_the_answer_before_it(http: httpx.AsyncClient) -> None:
    whole = await http.post("/v1/chat/completions", json=ask(FAST + "Why?", temperature=0))
    word = whole.json()["choices"][0]["message"]["content"].split()[5]

    cut = await http.post("/v1/chat/completions", json=ask(FAST + "Why?", temperature=0, stop=word))

    content = cut.json()["choices"][0]["message"]["content"]
    assert word not in content
    assert whole.json()["choices"][0]["message"]["content"].startswith(content)


async def test_thinking_travels_beside_the_answer(http: httpx.AsyncClient) -> None:
    _, lines = await stream(http, {**ask(FAST + "Why is the sky blue?"), "model": "demo-thinking"})
    chunks = chunks_of(lines)

    thinking = "".join(
        c["choices"][0]["delta"].get("reasoning_content") or "" for c in chunks if c["choices"]
    )
    assert thinking
    assert text_of(chunks)


async def test_a_json_schema_is_kept(http: httpx.AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
    }
    reply = await http.post(
        "/v1/chat/completions",
        json={
            **ask(FAST + "A city, please"),
            "model": "demo-json",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "city", "schema": schema},
            },
        },
    )

    answer = json.loads(reply.json()["choices"][0]["message"]["content"])
    assert isinstance(answer["city"], str)
    assert isinstance(answer["people"], int)


async def test_an_engine_that_fails_in_mid_stream_is_an_error_frame_not_a_success(
    http: httpx.AsyncClient,
) -> None:
    # JSON that breaks off cannot be continued, unlike text.
    broken = ask("[demo tps=0 fault=error@10] go on", response_format={"type": "json_object"})

    _, lines = await stream(http, broken)

    assert lines[-1] == "data: [DONE]"
    error = json.loads(lines[-2].removeprefix("data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "engine_error"
    assert not any('"finish_reason":"stop"' in line for line in lines)


async def test_an_engine_that_fails_in_mid_stream_is_asked_to_go_on(
    http: httpx.AsyncClient,
) -> None:
    _, lines = await stream(http, ask("[demo tps=0 tokens=50 fault=cut@10x1] go on"))

    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    words = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert len([word for word in words if word]) == 50
    assert chunks[-1]["continuedAt"] == chunks[-1]["continued_at"] == [11]
    assert chunks[-1]["usage"]["completionTokens"] == 50


async def test_an_engine_that_fails_before_the_first_token_is_an_http_status(
    http: httpx.AsyncClient,
) -> None:
    reply = await http.post(
        "/v1/chat/completions", json={**ask("[demo fault=500] go on"), "stream": True}
    )

    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "engine_error"
    assert reply.headers["x-should-retry"] == "false"


async def test_a_prompt_over_the_window_is_refused_with_its_own_code(
    http: httpx.AsyncClient,
) -> None:
    reply = await http.post(
        "/v1/chat/completions", json={**ask("word " * 3000), "model": "demo-small"}
    )

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("directive", ["first_token_ms=60000", "tokens=5000 tps=50"])
async def test_a_client_that_leaves_stops_the_engine_within_a_second(
    stack: Stack, http: httpx.AsyncClient, streaming: bool, directive: str
) -> None:
    engine = await stack.address("engine")
    marker = f"leaving-{streaming}-{directive.replace(' ', '-')}"
    body = {**ask(f"[demo {directive}] {marker}"), "stream": streaming}
    async with httpx.AsyncClient(base_url=engine) as witness:
        await witness.delete("/demo/log")
        request = asyncio.create_task(http.post("/v1/chat/completions", json=body))

        async def entry() -> dict[str, Any] | None:
            log = (await witness.get("/demo/log")).json()
            started = [each for each in log if each["started_at"] is not None]
            if "tokens" in directive:
                started = [each for each in started if each["tokens_sent"] > 3]
            return started[0] if started else None

        await eventually(entry)
        left = time.monotonic()
        request.cancel()

        async def closed() -> bool:
            log = (await witness.get("/demo/log")).json()
            return bool(log[0]["outcome"] == "closed_by_client")

        await eventually(closed, within=5)
        assert time.monotonic() - left < 1.0 + 0.5  # the second, and the witness's polling


async def test_twenty_at_once_all_get_their_own_answer(http: httpx.AsyncClient) -> None:
    async def one(number: int) -> str:
        _, lines = await stream(http, ask(f"{FAST}question-{number}", temperature=0))
        return text_of(chunks_of(lines))

    answers = await asyncio.gather(*(one(number) for number in range(20)))

    assert all(f"question-{number}" in answer for number, answer in enumerate(answers))
