"""Whatever an engine says, an answer has one end: no hang, no crash, nothing without a bound.

The bytes come over a real connection to the worker's own client, and what becomes of them goes the
whole way to the event that says how the completion ended.
"""

import asyncio
import gc
import gzip
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.inference_worker.ability import Ability
from services.inference_worker.adapters.ollama_client import build_client
from services.inference_worker.adapters.ollama_engine import OllamaEngine, QuietLimits
from services.inference_worker.adapters.ollama_models import OllamaModels
from services.inference_worker.completions import Completions, Surroundings
from services.inference_worker.ending import Ending
from services.inference_worker.generation import Generation
from services.inference_worker.ports import Batch, Call, Engine
from services.inference_worker.stop import StopSignal
from shared.contracts.workers import ModelCard
from shared.errors import ChatError, EngineError
from tests.fakes.inference_worker.broker import FakeBroker, FakeJob
from tests.fakes.inference_worker.hostile_engine import (
    HEADS,
    LINE,
    Anything,
    Endless,
    listings,
    replies,
)
from tests.fakes.inference_worker.http_engine import HttpEngine, HttpStep
from tests.fakes.inference_worker.requests import NOON, request
from tests.support.fuzzing import fuzz

FUZZ: Final = fuzz(60)
QUIET: Final = QuietLimits(timedelta(milliseconds=80), timedelta(milliseconds=80))
WITHIN: Final = 10.0
PLAIN: Final = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def engine_of(server: HttpEngine) -> AsyncGenerator[OllamaEngine]:
    async with server:
        client = build_client(server.url, connect_timeout=2)
        try:
            yield OllamaEngine(client, QUIET)
        finally:
            await client.aclose()


async def heard(engine: Engine) -> tuple[list[Batch], ChatError | None]:
    """All batches, and the error after them, if any; only errors of the house come out."""
    batches: list[Batch] = []
    try:
        async with asyncio.timeout(WITHIN):
            async for batch in engine.stream(request()):
                batches.append(batch)
    except ChatError as error:
        return batches, error
    return batches, None


def check_batches(batches: list[Batch], error: ChatError | None) -> None:
    finishes = [batch.finish for batch in batches if batch.finish]
    assert len(finishes) == (0 if error else 1)
    if finishes:
        assert batches[-1].finish is finishes[0]
        counts = (finishes[0].prompt_tokens, finishes[0].completion_tokens)
        assert all(count is None or 0 <= count < 2**31 for count in counts)
    for part in (part for batch in batches for part in batch.parts):
        if isinstance(part, Call):
            assert isinstance(json.loads(part.arguments, parse_constant=_no_json), dict)
            assert part.name.encode() is not None
        else:
            assert part.text.encode()
    if error is not None:
        assert error.message.endswith(".")
        assert len(error.message.encode()) < 2100


def _no_json(constant: str) -> None:
    raise AssertionError(constant)


async def run_to_the_end(engine: Engine) -> FakeBroker:
    """As a worker runs what it has pulled."""
    broker = FakeBroker(room=8 * 2**20, abilities={"demo:latest": True})
    completions = Completions(
        Generation(engine, Ability(engine, broker, lambda model: model), retry_after=timedelta(0)),
        Surroundings(broker, broker, broker),
        now=lambda: NOON,
        on_model_missing=lambda: None,
        ending=Ending(broker, broker),
    )
    job = FakeJob(request().to_bytes(), broker.log, pulled_at=time.monotonic())
    async with asyncio.timeout(WITHIN):
        await completions.run(job, StopSignal())
    return broker


class Loop:
    """A loop of its own, which has nothing to complain of at the end."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def __enter__(self) -> asyncio.Runner:
        self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        loop.set_exception_handler(lambda _loop, said: self.complaints.append(repr(said)))
        return self._runner

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Of a task that failed and nobody looked at: told when it is collected.
        gc.collect()
        self._runner.close()
        if kind is None:
            assert self.complaints == []


def test_any_reply_has_one_end_and_holds_nothing_that_cannot_be_sent_on() -> None:
    with Loop() as runner:

        @FUZZ
        @given(reply=replies())
        def any_reply(reply: list[HttpStep]) -> None:
            async def asked() -> None:
                async with engine_of(HttpEngine(reply)) as engine:
                    check_batches(*await heard(engine))

            runner.run(asked())

        any_reply()


def test_any_bytes_at_all_have_one_end() -> None:
    with Loop() as runner:

        @FUZZ
        @given(head=HEADS, body=st.binary(max_size=60) | LINE)
        @example(head=b"HTTP/1.1 200 OK\r\n\r\n", body=b'{"message":{"role":"a"},"done":true}')
        def any_bytes(head: bytes, body: bytes) -> None:
            async def asked() -> None:
                async with engine_of(Anything(head + body)) as engine:
                    check_batches(*await heard(engine))

            runner.run(asked())

        any_bytes()


def test_whatever_an_engine_says_the_completion_is_ended_once_and_acknowledged() -> None:
    with Loop() as runner:

        @FUZZ
        @given(reply=replies())
        def any_reply(reply: list[HttpStep]) -> None:
            async def asked() -> None:
                async with engine_of(HttpEngine(reply)) as engine:
                    broker = await run_to_the_end(engine)
                assert broker.listening == 0
                assert broker.log[-1] in {"ack", "give_back"}
                if broker.log[-1] == "ack":
                    assert broker.end.status in {"completed", "failed"}
                    assert broker.end.text.startswith(broker.text)

            runner.run(asked())

        any_reply()


async def cards_of(server: HttpEngine) -> Sequence[ModelCard]:
    async with server:
        client = build_client(server.url, connect_timeout=2)
        models = OllamaModels(client, server.url, timeout=1)
        try:
            cards = (await models.look()).models
        except EngineError:
            return ()
        else:
            assert all(models.fingerprint(card.name).encode() for card in cards)
            return cards
        finally:
            await client.aclose()


def test_whatever_an_engine_says_of_its_models_the_worker_has_a_list_or_an_error() -> None:
    with Loop() as runner:

        @FUZZ
        @given(body=LINE | listings() | listings(), head=HEADS | st.just(PLAIN) | st.just(PLAIN))
        def any_list(body: bytes, head: bytes) -> None:
            for card in runner.run(cards_of(Anything(head + body))):
                announced = ModelCard.from_bytes(card.to_bytes())
                assert announced == card
                assert json.loads(json.dumps(announced.model_dump())) is not None
                assert card.name.isprintable()
                assert card.context_length is None or 0 < card.context_length < 2**31
                assert len(card.to_bytes()) < 32_768

        any_list()


@pytest.mark.parametrize(
    "line",
    [b"\n", b" ", b"x", b'{"message":{"role":"a","content":""}}\n'],
    ids=["empty lines", "white space", "one line", "nothing said"],
)
async def test_a_trickle_that_says_nothing_is_silence(line: bytes) -> None:
    server = Endless(line, pause=0.005)
    async with engine_of(server) as engine:
        batches, error = await heard(engine)
        assert (batches, getattr(error, "code", None)) == ([], "engine_timeout")
        await asyncio.wait_for(server.stopped.wait(), WITHIN)


async def test_an_answer_without_end_ends_at_its_bound_and_the_engine_is_left() -> None:
    line = json.dumps({"message": {"role": "a", "content": "x" * 30_000}}).encode() + b"\n"
    server = Endless(line)
    async with engine_of(server) as engine:
        broker = await run_to_the_end(engine)
        await asyncio.wait_for(server.stopped.wait(), WITHIN)
    assert (broker.end.status, broker.end.finish_reason) == ("completed", "length")
    assert len(broker.end.text) == 2**20


@pytest.mark.parametrize("what", ["text", "calls"])
async def test_what_nobody_takes_waits_at_the_engine_and_not_in_memory(what: str) -> None:
    message: dict[str, Any] = {"role": "a", "content": "x" * 2**20}
    if what == "calls":
        message = {"role": "a", "tool_calls": [{"function": {"name": "f", "arguments": {}}}] * 9000}
    server = Endless(json.dumps({"message": message}).encode() + b"\n")
    async with engine_of(server) as engine:
        stream = engine.stream(request())
        first = await anext(stream)
        assert first.parts
        settled = await _standstill(server)
        assert settled < 24 * 2**20
        await stream.aclose()


async def test_a_list_of_models_without_end_is_not_read_for_ever() -> None:
    server = Endless(b" " * 2**16)
    async with server:
        client = build_client(server.url, connect_timeout=2)
        with pytest.raises(EngineError, match="not its protocol"):
            await OllamaModels(client, server.url, timeout=WITHIN).look()
        await asyncio.wait_for(server.stopped.wait(), WITHIN)
        await client.aclose()
    assert server.sent < 24 * 2**20


@pytest.mark.parametrize("status", [b"200 OK", b"500 No"])
async def test_what_is_compressed_is_not_unpacked(status: bytes) -> None:
    bomb = gzip.compress(b'{"message":{"role":"a"},"done":true}\n' + b"\n" * 2**20)
    head = b"HTTP/1.1 %b\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" % status
    async with engine_of(Anything(head + bomb)) as engine:
        batches, error = await heard(engine)
    assert batches == []
    assert isinstance(error, EngineError)
    assert error.message == "The engine said something that is not its protocol."


async def _standstill(server: Endless) -> int:
    """How much it had sent when it could send no more."""
    async with asyncio.timeout(WITHIN):
        while True:
            before = server.sent
            # Nobody can be asked whether a socket is full: it is, when nothing moves any more.
            await asyncio.sleep(0.3)
            if server.sent == before:
                return before
