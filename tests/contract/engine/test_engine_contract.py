"""What every engine promises."""

import asyncio
import time
from contextlib import aclosing

import pytest

from services.inference_worker.ports import Batch, Call, Engine, Finish, Part, Text, Thinking
from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from tests.contract.engine.rigs import Fails, Rig, Waits
from tests.fakes.inference_worker.requests import request
from tests.support.waiting import eventually

END = Batch((), Finish("stop", 7, 2))


async def all_of(engine: Engine) -> tuple[list[Part], list[Finish | None]]:
    parts: list[Part] = []
    finishes = []
    async with aclosing(engine.stream(request())) as batches:
        async for batch in batches:
            parts += batch.parts
            finishes.append(batch.finish)
    return parts, finishes


async def test_parts_come_in_order_and_only_the_last_batch_has_the_finish(rig: Rig) -> None:
    engine = await rig.engine([Batch([Text("Hel"), Text("lo")]), Batch([Text("!")]), END])

    parts, finishes = await all_of(engine)

    assert parts == [Text("Hel"), Text("lo"), Text("!")]
    assert finishes[-1] == Finish("stop", 7, 2)
    assert set(finishes[:-1]) <= {None}


async def test_thinking_text_and_calls_are_told_apart(rig: Rig) -> None:
    parts: list[Part] = [Thinking("hm"), Text("So:"), Call("weather", '{"city":"Rome"}')]
    engine = await rig.engine([Batch(parts), Batch((), Finish("tool_calls", 7, 3))])

    heard, finishes = await all_of(engine)

    assert heard == parts
    assert finishes[-1] == Finish("tool_calls", 7, 3)


async def test_counts_that_the_engine_does_not_give_are_absent_not_zero(rig: Rig) -> None:
    engine = await rig.engine([Batch((), Finish("length"))])
    _, finishes = await all_of(engine)
    assert finishes == [Finish("length", None, None)]


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFound,
        ContextLengthExceeded,
        InvalidRequest,
        EngineUnavailable,
        EngineBusy,
        EngineError,
    ],
)
async def test_a_refusal_comes_before_any_batch(rig: Rig, error: type[ChatError]) -> None:
    engine = await rig.engine([Fails(error)])

    with pytest.raises(error) as caught:
        await all_of(engine)

    assert type(caught.value) is error
    assert caught.value.message


async def test_what_was_said_before_a_failure_comes_first(rig: Rig) -> None:
    engine = await rig.engine([Batch([Text("Hel")]), Fails(EngineError)])
    heard: list[Part] = []

    async def listen() -> None:
        async with aclosing(engine.stream(request())) as batches:
            async for batch in batches:
                heard.extend(batch.parts)

    with pytest.raises(EngineError):
        await listen()

    assert heard == [Text("Hel")]
    await eventually(lambda: rig.open() == 0)


@pytest.mark.parametrize("before", [[], [Batch([Text("Hel")])]])
async def test_silence_that_is_too_long_is_a_timeout(rig: Rig, before: list[Batch]) -> None:
    engine = await rig.engine([*before, Waits()], patient=False)

    with pytest.raises(EngineTimeout):
        await all_of(engine)

    await eventually(lambda: rig.open() == 0)


@pytest.mark.parametrize("before", [[], [Batch([Text("Hel")])]])
async def test_cancelling_who_waits_stops_the_engine_at_once(rig: Rig, before: list[Batch]) -> None:
    engine = await rig.engine([*before, Waits()])
    waiting = asyncio.create_task(all_of(engine))
    await eventually(lambda: rig.open() == 1)

    cancelled_at = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: rig.open() == 0, every=0.005)

    assert time.monotonic() - cancelled_at < 0.3


async def test_closing_in_the_middle_stops_the_engine(rig: Rig) -> None:
    engine = await rig.engine([Batch([Text("Hel")]), Waits()])
    batches = engine.stream(request())
    await anext(batches)

    await batches.aclose()

    await eventually(lambda: rig.open() == 0)


async def test_more_than_a_hundred_streams_run_at_once(rig: Rig) -> None:
    engine = await rig.engine([Batch([Text("Hel")]), Waits()])
    streams = [engine.stream(request()) for _ in range(120)]

    await asyncio.wait_for(asyncio.gather(*(anext(stream) for stream in streams)), 20)

    assert rig.open() == 120
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await eventually(lambda: rig.open() == 0)
