"""Slots over models and lanes: never too many at the engine, never a slot without need."""

from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from shared.contracts.ids import CompletionId
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


SIX = [
    f"{name}:latest"
    for name in ("demo", "demo-json", "demo-tools", "demo-vision", "demo-thinking", "demo-diverge")
]


def running_over_time(log: Sequence[dict[str, Any]]) -> list[tuple[float, int]]:
    """When how many were at an engine."""
    steps = sorted(
        [(float(entry["started_at"]), 1) for entry in log]
        + [(float(entry["ended_at"]), -1) for entry in log]
    )
    running, levels = 0, []
    for moment, step in steps:
        running += step
        levels.append((moment, running))
    return levels


@pytest.mark.slow
async def test_two_workers_six_models_two_slots_each_are_all_busy_and_never_three_at_an_engine(
    world: World,
) -> None:
    other = await world.another_engine(parallel=8)
    await world.worker(WORKER_SLOTS="2")
    await world.worker(WORKER_SLOTS="2", OLLAMA_BASE_URL=other)

    asked = [
        await world.ask(f"{n} [demo tokens=25 tps=50]", model=SIX[n % 6], lane="ab"[n % 4 == 0])
        for n in range(48)
    ]
    for completion_id in asked:
        assert (await world.end_of(completion_id, within=40)).status == "completed"

    logs = [await world.engine_log(), await world.engine_log(other)]
    assert sum(map(len, logs)) == 48
    for log in logs:
        assert max(running for _, running in running_over_time(log)) == 2
        assert len({entry["model"] for entry in log}) >= 4
    everything = [entry for log in logs for entry in log]
    last_start = max(float(entry["started_at"]) for entry in everything)
    levels = running_over_time(everything)
    first_full = next(moment for moment, running in levels if running == 4)
    gaps = [
        later - moment
        for (moment, running), (later, _) in pairwise(levels)
        if running < 4 and first_full <= moment and later <= last_start
    ]
    # Between the end of one and the start of the next a slot is on its way; it is never parked.
    assert sorted(gaps)[len(gaps) // 2] < 0.1
    assert sum(gaps) < (last_start - first_full) / 2
    assert max(gaps) < 1


async def test_fifty_jobs_of_one_user_do_not_starve_the_one_of_another(world: World) -> None:
    await world.gate(closed=True)
    await world.worker(WORKER_SLOTS="2")
    # As gateways sort them: two unfinished ones in lane a, the others in lane b.
    many = [
        await world.ask(f"many {n} [demo tokens=2 tps=0]", lane="a" if n < 2 else "b")
        for n in range(50)
    ]

    async def both_busy() -> bool:
        return len(await world.engine_log()) == 2

    await eventually(both_busy)
    one = await world.ask("one [demo tokens=2 tps=0]", lane="a")
    await world.gate(closed=False)

    async def ended_at(completion_id: CompletionId) -> float:
        return (await world.end_of(completion_id, within=40)).completed_at.timestamp()

    moment = await ended_at(one)
    before = [other for other in many if await ended_at(other) < moment]
    # The two that ran, and at most the one whose turn lane b had.
    assert len(before) <= 4
