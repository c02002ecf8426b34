"""What only Ollama's protocol can do wrong, and how its lines are joined."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.inference_worker.adapters.ollama_client import build_client
from services.inference_worker.adapters.ollama_engine import OllamaEngine, QuietLimits
from services.inference_worker.ports import Batch, Finish, Part, Text
from shared.errors import EngineError
from tests.fakes.inference_worker.http_engine import (
    Hang,
    HttpEngine,
    HttpStep,
    Lines,
    Raw,
    Status,
    line,
)
from tests.fakes.inference_worker.requests import request

DONE = line(done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)


@asynccontextmanager
async def engine_over(
    *scripts: Sequence[HttpStep],
) -> AsyncGenerator[tuple[OllamaEngine, HttpEngine]]:
    async with HttpEngine(*scripts) as server:
        client = build_client(server.url, connect_timeout=5, api_key="secret")
        try:
            yield OllamaEngine(client, QuietLimits(timedelta(5), timedelta(5))), server
        finally:
            await client.aclose()


async def batches_of(engine: OllamaEngine) -> list[Batch]:
    return [batch async for batch in engine.stream(request())]


async def test_what_one_read_held_is_one_batch() -> None:
    lines = [line(f"{number} ") for number in range(50)]
    async with engine_over([Lines(lines), Lines([DONE])]) as (engine, _):
        batches = await batches_of(engine)

    parts: list[Part] = [part for batch in batches for part in batch.parts]
    assert parts == [Text(f"{number} ") for number in range(50)]
    assert len(batches) <= 2


async def test_a_line_may_come_in_pieces() -> None:
    half = b'{"message":{"role":"assistant","content":"Hel'
    rest = b'lo \xc3\xa9"},"done":false}\n'
    async with engine_over([Raw(half), Raw(rest), Lines([DONE])]) as (engine, _):
        batches = await batches_of(engine)
    assert batches[0].parts == [Text("Hello é")]


@pytest.mark.parametrize(
    "wrong",
    [
        Lines([{"error": "llama runner process has terminated"}]),
        Raw(b'{"message":{"role":"assistant","content":"cut in ha'),
        Raw(b"no json at all\n"),
        Raw(b'{"done":false}\n'),
        Raw(b"[1]\n"),
        Raw(b'{"message":{"role":"assistant","content":"\\ud800"},"done":false}\n'),
        Raw(
            b'{"message":{"role":"assistant","tool_calls":'
            b'[{"function":{"name":"f","arguments":{"a":NaN}}}]},"done":false}\n'
        ),
        Lines([]),
    ],
)
async def test_a_reply_that_breaks_the_protocol_is_an_engine_error(wrong: HttpStep) -> None:
    async with engine_over([Lines([line("Hel")]), wrong]) as (engine, _):
        heard: list[Part] = []

        async def listen() -> None:
            async for batch in engine.stream(request()):
                heard.extend(batch.parts)

        with pytest.raises(EngineError):
            await listen()
    assert heard == [Text("Hel")]


async def test_an_answer_that_only_repeats_itself_and_is_broken_off_has_reached_its_length() -> (
    None
):
    loop = [line(" again") for _ in range(31)]
    async with engine_over([Lines([line("So"), *loop])]) as (engine, _):
        batches = await batches_of(engine)
    assert [part for batch in batches for part in batch.parts][:2] == [Text("So"), Text(" again")]
    assert batches[-1].finish == Finish("length")


async def test_only_a_line_feed_ends_a_line_and_a_blank_one_says_nothing() -> None:
    text = "next line: \x85, line separator: \u2028, NUL: \x00"
    said = json.dumps(line(text), ensure_ascii=False).encode()
    async with engine_over([Raw(b"\r\n" + said + b"\n\n"), Lines([DONE])]) as (engine, _):
        batches = await batches_of(engine)
    assert batches[0].parts == [Text(text)]


async def test_a_line_without_an_end_is_not_read_for_ever() -> None:
    async with engine_over([*([Raw(b"x" * 2**20)] * 17), Hang()]) as (engine, _):
        async with asyncio.timeout(10):
            with pytest.raises(EngineError, match="not its protocol"):
                await batches_of(engine)


@pytest.mark.parametrize("count", [-2, 2**40])
async def test_a_count_that_cannot_be_one_is_absent(count: int) -> None:
    last = line(done=True, done_reason="stop", prompt_eval_count=count, eval_count=count)
    async with engine_over([Lines([line("Hi"), last])]) as (engine, _):
        batches = await batches_of(engine)
    assert batches[-1].finish == Finish("stop", None, None)


async def test_an_error_page_is_cut_to_a_sentence() -> None:
    async with engine_over([Status(500, "x" * 200_000)]) as (engine, _):
        with pytest.raises(EngineError) as caught:
            await batches_of(engine)
    assert 0 < len(caught.value.message) <= 500


async def test_a_reply_that_stays_open_after_its_last_word_is_over() -> None:
    async with engine_over([Lines([line("Hi"), DONE]), Hang()]) as (engine, _):
        batches = await batches_of(engine)
    assert batches[-1].finish == Finish("stop", 3, 2)


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    async with engine_over([Lines([line("Hi"), DONE])]) as (engine, server):
        for _ in range(3):
            await batches_of(engine)
        assert server.connections == 1
        assert len(server.bodies) == 3


async def test_the_body_asks_for_the_whole_prompt_or_an_error() -> None:
    async with engine_over([Lines([DONE])]) as (engine, server):
        await batches_of(engine)
    assert server.bodies[0]["truncate"] is False
    assert server.bodies[0]["stream"] is True


async def test_a_slow_reader_makes_the_engine_wait_instead_of_filling_memory() -> None:
    lines = [line("x" * 1000) for _ in range(200)]
    async with engine_over([*([Lines(lines)] * 50), Lines([DONE])]) as (engine, _):
        stream = engine.stream(request())
        first = await anext(stream)
        assert len(first.parts) <= 2048
        heard = len(first.parts)
        async for batch in stream:
            assert len(batch.parts) <= 2048
            heard += len(batch.parts)
    assert heard == 10_000
