"""Workers that die, brokers that restart: what a reader still gets."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from deploy.local.demo_engine.phrases import VARIANTS
from shared.contracts import streams, subjects
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId, UserId, new_completion_id
from shared.contracts.workers import Watched
from shared.messaging.asking import ask_workers
from tests.fakes.inference_worker.requests import NOON
from tests.fakes.inference_worker.world import DEMO, WorkerProcess, World, a_world
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

CALLED_OFF = "request_handed_over"
LOST = "completion_lost_to_another_worker"

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path) as opened:
        yield opened


async def decoding(world: World, *completion_ids: CompletionId) -> None:
    await eventually(lambda: all("TOKENS" in world.kinds(one) for one in completion_ids))


async def asked(world: World, times: int = 1) -> None:
    async def reached() -> bool:
        return len(await world.engine_log()) >= times

    await eventually(reached)


async def pulling(world: World) -> None:
    info = f"CONSUMER.INFO.{streams.REQUESTS}.{streams.request_consumer(DEMO, 'a')}"

    async def held() -> bool:
        return int((await world.jetstream.api(info))["num_waiting"]) > 0

    await eventually(held)


async def killed_in_the_middle(world: World, worker: WorkerProcess, *ids: CompletionId) -> None:
    """Kill it once tokens went out, while its engine stands still; another one takes over."""
    # The first words of two tellings may be the same.
    await eventually(lambda: all(world.kinds(one).count("TOKENS") >= 12 for one in ids))
    await world.gate(closed=True)
    await world.worker()
    worker.kill()
    await world.gate(closed=False)


async def none_queued(world: World) -> None:
    async def empty() -> bool:
        return await world.queued() == 0

    await eventually(empty)


@pytest.mark.slow
async def test_a_worker_killed_before_the_first_token_is_followed_by_a_whole_answer(
    world: World,
) -> None:
    await world.gate(closed=True)
    first = await world.worker()
    completion_id = await world.ask("Hello [demo tokens=10 tps=0]")
    await asked(world)
    await world.worker()

    first.kill()
    await asked(world, times=2)
    await world.gate(closed=False)
    end = await world.end_of(completion_id)

    assert (end.status, end.attempts, end.events) == ("completed", 2, 11)
    assert world.text(completion_id) == end.text
    assert world.kinds(completion_id).count("TAKEOVER") == 1
    assert world.kinds(completion_id)[-1] == "END"
    assert [entry["outcome"] for entry in await world.engine_log()] == ["closed_by_client", "done"]
    await none_queued(world)


@pytest.mark.slow
async def test_a_worker_that_stood_still_does_not_end_what_its_successor_answers(
    world: World,
) -> None:
    first = await world.worker()
    await world.gate(closed=True)
    completion_id = await world.ask("Hello [demo tokens=10 tps=0]")
    await asked(world)

    first.freeze()
    await world.worker()
    await asked(world, times=2)
    first.thaw()
    await world.gate(closed=False)
    end = await world.end_of(completion_id)

    await eventually(lambda: first.logged(CALLED_OFF) or first.logged(LOST))
    assert (end.status, end.attempts) == ("completed", 2)
    assert world.kinds(completion_id).count("END") == 1
    await none_queued(world)


@pytest.mark.slow
async def test_a_request_that_lay_in_the_socket_of_a_frozen_worker_runs_once(
    world: World,
) -> None:
    idle = await world.worker()
    await world.gate(closed=True)
    await pulling(world)
    idle.freeze()
    completion_id = await world.ask("Hello [demo tokens=10 tps=0]")

    await world.worker()
    await asked(world)
    idle.thaw()
    await eventually(lambda: idle.logged("request_already_begun"))
    await world.gate(closed=False)
    end = await world.end_of(completion_id)

    # The number is its own, as nobody could know that the first one would not run it.
    assert (end.status, end.attempts, end.ended_by, end.events) == ("completed", 1, 2, 11)
    assert world.text(completion_id) == end.text
    assert len(await world.engine_log()) == 1
    await none_queued(world)


async def test_a_worker_killed_after_tokens_is_followed_by_the_rest_of_the_answer(
    world: World,
) -> None:
    first = await world.worker()
    completion_id = await world.ask("Hello [demo tokens=60 tps=40]")

    await killed_in_the_middle(world, first, completion_id)
    end = await world.end_of(completion_id)

    assert (end.status, end.attempts, end.events, end.error) == ("completed", 2, 61, None)
    assert world.text(completion_id) == end.text
    assert end.continued_at is not None
    (seam,) = end.continued_at
    assert 1 < seam < 61
    assert [entry["continued"] for entry in await world.engine_log()] == [False, True]
    assert end.usage is not None
    assert (end.usage.completion_tokens, end.usage.estimated) == (60, True)
    assert end.text in [await _whole(world, seed) for seed in range(VARIANTS * 3)]
    await none_queued(world)


@pytest.mark.slow
async def test_a_worker_killed_in_an_answer_with_a_seed_is_followed_by_the_same_answer(
    world: World,
) -> None:
    fixed: dict[str, Any] = {"sampling": {"seed": 7}, "response_format": {"type": "json_object"}}
    first = await world.worker()
    alone = await world.end_of(await world.ask("List [demo tokens=60 tps=0]", **fixed))
    completion_id = await world.ask("List [demo tokens=60 tps=40]", **fixed)

    await killed_in_the_middle(world, first, completion_id)
    end = await world.end_of(completion_id)

    assert (end.status, end.attempts) == ("completed", 2)
    assert world.text(completion_id) == end.text == alone.text
    assert end.usage is not None
    assert not end.usage.estimated


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("demo-nocontinue:latest", {}),
        ("demo-diverge:latest", {}),
        ("demo-diverge:latest", {"sampling": {"seed": 7}}),
        ("demo:latest", {"response_format": {"type": "json_object"}}),
        ("demo-thinking:latest", {}),
    ],
)
async def test_a_worker_killed_in_what_cannot_go_on_is_followed_by_an_honest_end(
    world: World, model: str, fields: dict[str, Any]
) -> None:
    first = await world.worker()
    completion_id = await world.ask("Hello [demo tokens=5000 tps=50]", model=model, **fields)

    await killed_in_the_middle(world, first, completion_id)
    end = await world.end_of(completion_id)

    assert end.error is not None
    assert (end.status, end.error.code, end.attempts) == ("failed", "worker_lost", 2)
    assert end.text or end.thinking
    assert end.text == world.text(completion_id)
    assert end.usage is not None
    assert end.usage.estimated
    await none_queued(world)


async def test_a_worker_that_stood_still_in_the_middle_adds_nothing_when_it_wakes_up(
    world: World,
) -> None:
    first = await world.worker()
    completion_id = await world.ask("Hello [demo tokens=80 tps=40]")
    await decoding(world, completion_id)
    await world.gate(closed=True)

    first.freeze()
    await world.worker()
    await eventually(lambda: "FROM" in world.kinds(completion_id))
    first.thaw()
    await world.gate(closed=False)
    end = await world.end_of(completion_id)

    await eventually(lambda: first.logged(CALLED_OFF) or first.logged(LOST))
    assert (end.status, end.attempts, end.events) == ("completed", 2, 81)
    counted = [f for f in world.frames[completion_id] if f.kind.name == "TOKENS" and f.attempt > 1]
    assert counted[-1].next_index == 81
    assert world.kinds(completion_id).count("END") == 1
    await none_queued(world)


@pytest.mark.slow
async def test_a_worker_that_is_only_slow_is_called_off_before_another_one_goes_on(
    world: World,
) -> None:
    first = await world.worker()
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=80 tps=40]")
    await decoding(world, completion_id)

    reply = await world.control(completion_id, "yield")
    end = await world.end_of(completion_id)

    assert reply.ok
    assert (end.status, end.attempts, end.continued_at) == ("completed", 2, [reply.last_index + 1])
    assert world.text(completion_id) == end.text
    assert first.process.poll() is None


@pytest.mark.parametrize("fault", ["cut@20", "eof@20", "error@20", "half@20"])
async def test_an_engine_that_breaks_off_once_is_asked_to_go_on(world: World, fault: str) -> None:
    await world.worker()
    completion_id = await world.ask(f"Hello [demo tokens=60 tps=0 fault={fault}x1]")

    end = await world.end_of(completion_id)

    assert (end.status, end.attempts, end.continued_at) == ("completed", 1, [21])
    assert world.text(completion_id) == end.text
    assert [entry["continued"] for entry in await world.engine_log()] == [False, True]


async def test_a_model_that_only_repeats_itself_has_reached_its_length(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=60 tps=0 fault=loop@20]")

    end = await world.end_of(completion_id)

    assert (end.status, end.finish_reason, end.continued_at) == ("completed", "length", None)
    assert end.text.endswith(" loop loop")
    assert end.usage is not None
    assert end.usage.estimated


async def test_an_engine_that_stalls_in_the_middle_is_left_and_asked_to_go_on(
    world: World,
) -> None:
    await world.worker(WORKER_TOKEN_TIMEOUT="500ms")
    completion_id = await world.ask("Hello [demo tokens=60 tps=0 fault=stall@20x1]")

    end = await world.end_of(completion_id)

    assert (end.status, end.continued_at) == ("completed", [21])
    log = await world.engine_log()
    assert [entry["outcome"] for entry in log] == ["closed_by_client", "done"]


async def test_an_engine_that_keeps_failing_ends_it_after_three_attempts(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=60 tps=0 fault=cut@5]")

    end = await world.end_of(completion_id, within=20)

    assert end.error is not None
    assert (end.status, end.error.code, end.attempts) == ("failed", "engine_error", 3)
    assert end.text == world.text(completion_id)
    assert len(await world.engine_log()) == 6


async def test_a_request_that_has_its_end_already_is_only_told_it(world: World) -> None:
    completion_id = new_completion_id()
    recorded = CompletionCompleted(
        completion_id=completion_id,
        user_id=UserId("ada"),
        model="demo",
        status="completed",
        created_at=NOON,
        completed_at=NOON,
        text="Told before",
        events=3,
    )
    await world.jetstream.publish_once(subjects.completed(completion_id), recorded.to_bytes())
    await world.worker()

    await world.ask("Hello", completion_id=completion_id)
    end = await world.end_of(completion_id)

    assert end == recorded
    assert world.kinds(completion_id) == ["END"]
    assert await world.engine_log() == []
    await none_queued(world)


async def test_sigterm_lets_running_answers_finish_and_takes_nothing_more(world: World) -> None:
    worker = await world.worker()
    running = [await world.ask(f"Hello {n} [demo tokens=60 tps=60]") for n in range(3)]
    await decoding(world, *running)

    worker.terminate()
    await eventually(lambda: _nobody_serves(world), within=30)
    assert await world.catalog() == []
    late = await world.ask("Too late [demo tokens=3]")
    ends = [await world.end_of(one) for one in running]

    assert [end.status for end in ends] == ["completed"] * 3
    assert await worker.ended() == 0
    assert await world.queued() == 1
    assert world.kinds(late) == []


@pytest.mark.slow
async def test_sigterm_hands_over_what_is_not_done_when_time_is_up(world: World) -> None:
    worker = await world.worker(WORKER_DRAIN_TIMEOUT="300ms")
    begun = await world.ask("Hello [demo tokens=100 tps=50]")
    await decoding(world, begun)
    await world.gate(closed=True)
    waiting = await world.ask("Hello [demo tokens=5 tps=0]")
    await asked(world, times=2)
    await world.worker()

    worker.terminate()
    assert await worker.ended() == 0
    await world.gate(closed=False)
    ends = [await world.end_of(begun), await world.end_of(waiting)]

    assert [(end.status, end.attempts) for end in ends] == [("completed", 2)] * 2
    assert ends[0].text == world.text(begun)
    assert ends[0].continued_at
    assert not ends[1].continued_at


async def test_sigterm_ends_what_nobody_can_go_on_with_when_time_is_up(world: World) -> None:
    worker = await world.worker(WORKER_DRAIN_TIMEOUT="300ms")
    begun = await world.ask(
        "Hello [demo tokens=5000 tps=50]", response_format={"type": "json_object"}
    )
    await decoding(world, begun)

    worker.terminate()
    end = await world.end_of(begun)

    assert end.error is not None
    assert (end.status, end.error.code) == ("failed", "server_shutdown")
    assert end.text == world.text(begun)


async def test_an_answer_that_nobody_watches_is_stopped(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=5000 tps=50]", watch_timeout="PT1S")

    end = await world.end_of(completion_id)

    assert end.status == "cancelled"
    assert end.text == world.text(completion_id) != ""
    (entry,) = await world.engine_log()
    assert entry["outcome"] == "closed_by_client"


async def test_an_answer_that_is_watched_goes_on(world: World) -> None:
    await world.worker()
    completion_id = await world.ask("Hello [demo tokens=150 tps=50]", watch_timeout="PT1S")

    async def watched() -> bool:
        watching = Watched(gateway="gw").to_bytes()
        await world.client.publish(subjects.watched(completion_id), watching)
        return "END" in world.kinds(completion_id)

    await eventually(watched)
    end = await world.completed(completion_id)
    assert end is not None
    assert (end.status, end.events) == ("completed", 151)


async def test_a_broker_that_restarts_costs_no_answer(
    world: World, nats_server: NatsServer
) -> None:
    worker = await world.worker()
    completion_id = await world.ask("Hello [demo tokens=150 tps=50]")
    await decoding(world, completion_id)

    nats_server.kill()
    await nats_server.start()

    async def recorded() -> bool:
        try:
            end = await world.completed(completion_id)
        except nats.errors.Error:
            return False
        return end is not None and end.status == "completed" and end.events == 151

    await eventually(recorded, within=15)
    again = await world.ask("And again [demo tokens=3]")
    await world.end_of(again)
    await none_queued(world)
    assert len(await world.engine_log()) == 2
    assert worker.logged("job_crashed") == []


async def test_a_queue_that_was_deleted_is_asked_for_again(world: World) -> None:
    worker = await world.worker()
    durable = streams.request_consumer(DEMO, "a")
    await world.jetstream.api(f"CONSUMER.DELETE.{streams.REQUESTS}.{durable}")

    completion_id = await world.ask("Hello [demo tokens=3]")

    assert (await world.end_of(completion_id)).status == "completed"
    assert worker.process.poll() is None


async def _whole(world: World, seed: int) -> str:
    """One of the answers that the engine gives without a break."""
    completion_id = await world.ask("Hello [demo tokens=60 tps=0]", sampling={"seed": seed})
    return (await world.end_of(completion_id)).text


async def _nobody_serves(world: World) -> bool:
    try:
        await ask_workers(world.client, subjects.workers(DEMO), b"", timeout=0.5)
    except nats.errors.NoRespondersError:
        return True
    return False
