"""Slots over models and lanes: never too many at the engine, never a slot without need."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.fakes.inference_worker.world import DEMO, World, a_world
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def world(nats_server: NatsServer, client: Client, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(nats_server, client, tmp_path, ack_wait=2.0, parallel=8) as opened:
        yield opened


async def test_two_models_share_two_slots_and_no_slot_is_free_while_a_job_waits(
    world: World,
) -> None:
    await world.worker(WORKER_SLOTS="2")
    models = [DEMO, "demo-json:latest"]

    asked = [
        await world.ask(f"{n} [demo tokens=5 tps=50]", model=models[n % 2], lane="ab"[n % 3 == 0])
        for n in range(24)
    ]
    for completion_id in asked:
        assert (await world.end_of(completion_id, within=30)).status == "completed"

    log = sorted(await world.engine_log(), key=lambda entry: float(entry["started_at"]))
    assert len(log) == 24
    ends: list[float] = []
    waits = []
    for entry in log:
        started, ended = float(entry["started_at"]), float(entry["ended_at"])
        still = [end for end in ends if end > started]
        assert len(still) < 2, "three at the engine"
        if len(ends) >= 2:
            waits.append(started - sorted(ends)[-2] if len(still) == 1 else 0.0)
        ends.append(ended)
    assert sorted(waits)[len(waits) // 2] < 0.1


async def test_lane_b_is_served_at_least_every_fourth_time_and_a_before_it(world: World) -> None:
    await world.gate(closed=True)
    await world.worker(WORKER_SLOTS="1")
    blocking = await world.ask("first [demo tokens=2]")

    async def blocked() -> bool:
        return len(await world.engine_log()) == 1

    await eventually(blocked)
    lanes = {}
    for number in range(6):
        lanes[await world.ask(f"b{number} [demo tokens=2 tps=0]", lane="b")] = "b"
    for number in range(9):
        lanes[await world.ask(f"a{number} [demo tokens=2 tps=0]", lane="a")] = "a"
    await world.gate(closed=False)
    await world.end_of(blocking)
    for completion_id in lanes:
        await world.end_of(completion_id)

    ends = [(await world.end_of(one)).completed_at for one in lanes]
    order = [lane for _, lane in sorted(zip(ends, lanes.values(), strict=True))]
    assert order[0] == "a"
    assert order[:12].count("a") == 9
    assert all("b" in order[start : start + 4] for start in range(9))


async def test_two_workers_share_the_load_without_one_hoarding(world: World) -> None:
    workers = [await world.worker(WORKER_SLOTS="2") for _ in range(2)]

    asked = [await world.ask(f"{n} [demo tokens=10 tps=50]") for n in range(12)]
    for completion_id in asked:
        await world.end_of(completion_id)

    def shares() -> list[int]:
        return [len(worker.logged("completion_ended")) for worker in workers]

    # It is logged after the end is told.
    await eventually(lambda: sum(shares()) == 12)
    assert min(shares()) >= 4
    attempts = [(await world.end_of(one)).attempts for one in asked]
    assert attempts == [1] * 12
