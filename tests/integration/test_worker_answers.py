"""A real worker process between a real broker and the demo engine: answers and cancels."""

import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from shared.contracts import streams, subjects
from shared.contracts.chat import FunctionTool
from shared.contracts.dead_letters import REASON
from shared.contracts.frames import FrameKind
from shared.contracts.ids import CompletionId, new_completion_id
from shared.contracts.workers import WorkerProbe
from shared.messaging.asking import ask_workers
from shared.messaging.buckets import Bucket
from tests.fakes.inference_worker.world import DEMO, World, a_world
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path) as opened:
        yield opened


async def test_an_answer_streams_and_ends_completed_then_end_then_ack(world: World) -> None:
    await world.worker()
    order: list[str] = []

    async def saw_event(_message: object) -> None:
        order.append("completed")

    async def saw_ack(_message: object) -> None:
        order.append("ack")

    await world.client.subscribe(subjects.EVENTS_COMPLETED, cb=saw_event)
    await world.client.subscribe(f"$JS.ACK.{streams.REQUESTS}.>", cb=saw_ack)
    completion_id = await world.ask("Hello [demo tokens=30 tps=200]")
    end = await world.end_of(completion_id)
    await eventually(lambda: order[-1:] == ["ack"])

    assert order[0] == "completed"
    assert await world.queued() == 0
    assert (end.status, end.finish_reason, end.attempts) == ("completed", "stop", 1)
    assert world.text(completion_id) == end.text
    assert end.usage is not None
    assert (end.usage.completion_tokens, end.usage.estimated) == (30, False)
    frames = [f for f in world.frames[completion_id] if f.kind is FrameKind.TOKENS]
    assert [frame.first for frame in frames[1:]] == [frame.next_index for frame in frames[:-1]]
    assert end.events == frames[-1].next_index == 31


async def test_what_a_fast_engine_sends_is_joined_without_a_timer(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Go [demo tokens=2000 tps=0]")

    end = await world.end_of(completion_id)

    frames = [f for f in world.frames[completion_id] if f.kind is FrameKind.TOKENS]
    assert end.events == 2001
    assert len(frames) < 400
    assert world.text(completion_id) == end.text


async def test_tools_pass_through_to_an_engine_that_can_call_them(world: World) -> None:
    await world.worker()
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = FunctionTool(name="weather", description="The weather", parameters=schema)

    completion_id = await world.ask(
        "What is the weather in Rome?", model="demo-tools:latest", tools=[tool]
    )
    end = await world.end_of(completion_id)

    assert end.finish_reason == "tool_calls"
    assert [call.function.name for call in end.tool_calls] == ["weather"]
    assert "city" in json.loads(end.tool_calls[0].function.arguments)


async def test_a_prompt_that_does_not_fit_is_refused_not_shortened(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("word " * 2000, model="demo-small:latest")

    end = await world.end_of(completion_id)

    assert end.error is not None
    assert (end.status, end.error.code) == ("failed", "context_length_exceeded")
    assert "TOKENS" not in world.kinds(completion_id)


async def decoding(world: World, completion_id: CompletionId) -> None:
    await eventually(lambda: "TOKENS" in world.kinds(completion_id))


async def prefilling(world: World, _completion_id: CompletionId) -> None:
    async def asked() -> bool:
        return bool(await world.engine_log())

    await eventually(asked)


@pytest.mark.parametrize(
    ("reached", "wishes"),
    [(prefilling, "first_token_ms=60000"), (decoding, "tokens=5000 tps=50")],
)
async def test_a_cancel_closes_the_engine_within_300_ms(
    world: World, reached: object, wishes: str
) -> None:
    assert callable(reached)
    await world.worker()
    completion_id = await world.ask(f"Hello [demo {wishes}]")
    await reached(world, completion_id)

    cancelled_at = time.time()
    reply = await world.control(completion_id, "cancel")
    end = await world.end_of(completion_id)

    assert reply.ok
    (entry,) = await world.engine_log()
    assert entry["closed_at"] - cancelled_at < 0.3
    assert entry["outcome"] == "closed_by_client"
    assert end.status == "cancelled"
    assert world.text(completion_id) == end.text
    await eventually(lambda: _nobody_runs(world, completion_id))
    assert len(world.frames[completion_id]) == 1 + max(
        index for index, f in enumerate(world.frames[completion_id]) if f.kind is FrameKind.END
    )


async def test_whoever_runs_it_answers_and_says_how_far_it_is(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=5000 tps=50]")
    await decoding(world, completion_id)

    replies = [await world.control(completion_id, op) for op in ("watched", "resend", "cancel")]

    assert [reply.ok for reply in replies] == [True] * 3
    assert replies[0].last_index >= 1
    assert "SNAPSHOT" in world.kinds(completion_id)
    await world.end_of(completion_id)


async def test_a_cancel_in_the_queue_never_reaches_an_engine(world: World) -> None:
    tombstones = Bucket(world.jetstream, streams.CANCELLATIONS)
    completion_id = new_completion_id()
    await tombstones.put(completion_id, b"{}", ttl=60)
    await world.worker()

    await world.ask("Hello", completion_id=completion_id)
    end = await world.end_of(completion_id)

    assert end.status == "cancelled"
    assert await world.engine_log() == []


async def test_a_tombstone_alone_stops_a_running_one_within_a_heartbeat(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=5000 tps=50]")
    await decoding(world, completion_id)

    await Bucket(world.jetstream, streams.CANCELLATIONS).put(completion_id, b"{}", ttl=60)
    end = await world.end_of(completion_id, within=2)

    assert end.status == "cancelled"


async def test_a_request_that_nobody_can_read_ends_in_the_dead_letters(world: World) -> None:
    await world.worker()
    await world.jetstream.publish(subjects.requests(DEMO, "a"), b"not a request")

    async def buried() -> bool:
        letter = await world.jetstream.last(
            streams.DEAD_LETTERS, subjects.dead_letters("inference_worker")
        )
        if letter is None:
            return False
        assert letter.headers[REASON]
        return letter.data == b"not a request"

    async def gone() -> bool:
        return await world.queued() == 0

    await eventually(buried)
    await eventually(gone)


@pytest.mark.slow
async def test_a_worker_starts_without_its_engine_and_offers_its_models_once_it_is_there(
    world: World,
) -> None:
    world.stop_engine()
    await world.worker()

    async def probe() -> bool:
        try:
            reply = await ask_workers(world.client, subjects.workers(DEMO), b"", timeout=1)
        except nats.errors.NoRespondersError:
            return False
        return WorkerProbe.from_bytes(reply.data).slots == 4

    assert not await probe()
    (announcement,) = await world.catalog()
    assert (announcement.engine.ok, announcement.models) == (False, [])

    await world.start_engine()
    await eventually(probe)
    await eventually(lambda: _offers(world))

    world.stop_engine()
    await eventually(lambda: _is_quiet(world))
    assert not await probe()


async def _nobody_runs(world: World, completion_id: CompletionId) -> bool:
    try:
        await world.control(completion_id, "cancel")
    except nats.errors.NoRespondersError:
        return True
    return False


async def _offers(world: World) -> bool:
    (announcement,) = await world.catalog()
    names = {card.name for card in announcement.models}
    cards = {card.name: card for card in announcement.models}
    return (
        announcement.engine.ok
        and DEMO in names
        and cards["demo-tools:latest"].capabilities == ["tools"]
        and cards[DEMO].format == "GGUF"
        and (cards[DEMO].context_length or 0) > 0
    )


async def _is_quiet(world: World) -> bool:
    (announcement,) = await world.catalog()
    return not announcement.engine.ok and not announcement.models
