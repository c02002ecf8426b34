"""Streams through a real nats-server: bytes, failures, quiet time."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from openai import APIError, AsyncOpenAI

from shared.contracts.chat import CompletionStatus
from shared.contracts.frames import FrameKind
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, chunks_of, text_of
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


def ask(gateway: RunningGateway, **more: object) -> asyncio.Task[httpx.Response]:
    """Send a completion request; the answer comes later."""
    return asyncio.create_task(gateway.http.post("/v1/chat/completions", json={**ASK, **more}))


async def test_a_stream_has_the_workers_bytes_then_finish_usage_and_done(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("Hello", " there")
    await job.end()
    response = await answer

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-completion-id"] == job.command.completion_id
    assert response.headers["x-request-id"]
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith(("data: ", ":")) for line in lines)
    *content, finish, done = chunks_of(response.text)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in content] == ["Hello", " there"]
    assert finish["choices"] == [
        {"index": 0, "delta": {}, "finish_reason": "stop", "finishReason": "stop"}
    ]
    assert finish["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 15,
        "total_tokens": 25,
        "promptTokens": 10,
        "completionTokens": 15,
        "totalTokens": 25,
    }
    assert done == "[DONE]"


async def test_a_whole_answer_has_both_spellings(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway, stream=False)
    job = await worker.take()
    await job.say("Hello! ", "How can I help?")
    await job.end()
    response = await answer

    assert response.status_code == 200
    assert response.json() == {
        "id": job.command.completion_id,
        "object": "chat.completion",
        "created": int(job.command.created_at.timestamp()),
        "model": "demo",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello! How can I help?",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
                "finishReason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 15,
            "total_tokens": 25,
            "promptTokens": 10,
            "completionTokens": 15,
            "totalTokens": 25,
        },
    }


async def test_openais_own_client_reads_both_modes(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async def serve() -> None:
        for _ in range(2):
            job = await worker.take()
            await job.say("Hello", " there")
            await job.end()

    serving = asyncio.create_task(serve())
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as openai:
        whole = await openai.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Hi"}]
        )
        stream = await openai.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    await serving

    assert whole.choices[0].message.content == "Hello there"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 25
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello there"
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [25]
    assert chunks[-1].choices == []


async def test_a_failure_before_the_first_token_is_a_status_and_one_after_it_is_in_band(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    early = ask(gateway)
    job = await worker.take()
    await job.quiet(FrameKind.HEARTBEAT)
    await job.end(CompletionStatus.FAILED, code="context_length_exceeded")
    response = await early
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "it was context_length_exceeded",
        "type": "invalid_request_error",
        "param": None,
        "code": "context_length_exceeded",
    }

    late = ask(gateway)
    job = await worker.take()
    await job.say("Some")
    await job.end(CompletionStatus.FAILED, code="engine_unavailable")
    *_, error, done = chunks_of((await late).text)
    assert error["error"]["code"] == "engine_unavailable"
    assert error["error"]["type"] == "server_error"
    assert done == "[DONE]"


async def test_openais_client_sees_an_error_in_mid_stream(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async def serve() -> None:
        job = await worker.take()
        await job.say("Some")
        await job.end(CompletionStatus.FAILED, code="engine_error")

    serving = asyncio.create_task(serve())
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as openai:
        stream = await openai.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(APIError) as caught:
            async for _ in stream:
                pass
    await serving
    assert caught.value.code == "engine_error"


async def test_a_5xx_after_work_began_tells_clients_not_to_repeat(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway, stream=False)
    job = await worker.take()
    await job.quiet(FrameKind.HEARTBEAT)
    await job.end(CompletionStatus.FAILED, code="engine_error")
    response = await answer

    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "false"


async def test_quiet_time_is_filled_with_comments_once_the_headers_are_out(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(
        nats_server.url,
        header_hold=timedelta(milliseconds=100),
        ping_interval=timedelta(milliseconds=100),
    )
    async with RunningGateway(settings) as gateway:
        answer = ask(gateway)
        job = await worker.take()
        async with gateway.http.stream("POST", "/v1/chat/completions", json=ASK) as other:
            assert other.status_code == 200
            second = await worker.take()
            lines = other.aiter_lines()
            assert await anext(lines) == ": ping"
            await second.end()
        await job.end()
        body = (await answer).text
    assert body.startswith(": ping\n\n")
    assert text_of(body) == ""
    assert chunks_of(body)[-1] == "[DONE]"
