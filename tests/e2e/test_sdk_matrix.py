"""What OpenAI's own clients make of our bytes, against a running stack."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from tests.support.stack import Stack

pytestmark = pytest.mark.e2e
NODE = Path(__file__).parent / "node"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
async def client(stack: Stack) -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as connected:
        yield connected


def user(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


async def collect(stream: openai.AsyncStream[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in stream]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_python_streaming_gives_the_text_of_the_whole_answer(client: AsyncOpenAI) -> None:
    messages = user("[demo tps=0] Hello from Python")
    whole = await client.chat.completions.create(model="demo", messages=messages, temperature=0)

    chunks = await collect(
        await client.chat.completions.create(
            model="demo", messages=messages, temperature=0, stream=True
        )
    )

    assert text_of(chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_python_usage_comes_once_in_a_chunk_of_its_own_when_asked_for(
    client: AsyncOpenAI,
) -> None:
    chunks = await collect(
        await client.chat.completions.create(
            model="demo",
            messages=user("[demo tps=0] usage?"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    with_usage = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(with_usage) == 1
    assert with_usage[0] is chunks[-1]
    assert with_usage[0].choices == []
    assert all("usage" in chunk.model_fields_set for chunk in chunks)


async def test_python_raises_on_an_error_frame(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="demo",
        messages=user("[demo tps=0 fault=error@10] break"),
        response_format={"type": "json_object"},
        stream=True,
    )

    with pytest.raises(openai.APIError) as raised:
        await collect(stream)

    assert raised.value.code == "engine_error"


async def test_python_sees_the_status_and_code_of_an_early_error(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model="no-such-model", messages=user("x"))

    assert raised.value.code == "model_not_found"
    assert raised.value.request_id


async def test_python_puts_tool_deltas_together(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="demo-tools",
        messages=user("[demo tps=0] What is the weather in Paris?"),
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        final = await stream.get_final_completion()

    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.id
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@pytest.mark.slow
async def test_python_outlives_twenty_seconds_of_quiet(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="demo", messages=user("[demo tps=0 first_token_ms=20000] slow"), stream=True
    )

    chunks = await collect(stream)

    assert text_of(chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_python_lists_and_gets_models(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]

    assert {"demo", "demo-tools", "demo-thinking"} <= {model.id for model in models}
    one = await client.models.retrieve("demo")
    assert one.id == "demo"
    assert one.object == "model"


async def test_node_agrees(stack: Stack) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "openai").exists():
        pytest.skip("needs Node and `npm install` in tests/e2e/node (make test does it)")
    process = await asyncio.create_subprocess_exec(
        node, "matrix.mjs", stack.url,
        cwd=NODE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()

    result = json.loads(output)
    assert result["streamed"] == result["whole"]
    assert result["finish"] == "stop"
    assert result["usage"]["total_tokens"] > 0
    assert result["error"]["name"] == "APIError"
    assert result["error"]["code"] == "engine_error"
    assert result["missing"] == {"status": 404, "code": "model_not_found"}
    assert result["tool"]["name"] == "get_weather"
    assert result["toolFinish"] == "tool_calls"
