"""Minutes of load while one process after another dies: nothing lost, doubled or left behind."""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.tasks import end_tasks
from tests.faults.books import balanced
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.soak_client import SoakClient
from tests.faults.table import Report
from tests.faults.vitals import MemoryWatch, vitals
from tests.support.waiting import eventually

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

_DEADLINES = {"CHAT_WAITING_DEADLINE": "20s", "CHAT_GENERATING_DEADLINE": "30s"}
_STREAMS = 50
_BETWEEN_KILLS = 20.0


class Soak(BaseSettings):
    """``SOAK_*``."""

    model_config = SettingsConfigDict(env_prefix="SOAK_", extra="ignore")

    seconds: float = 600.0
    seed: int = 1


async def kill(cluster: Cluster, name: str) -> str:
    """Kill -9, and start it again as it was, a second later."""
    if name == "nats":
        cluster.nats.kill()
        await asyncio.sleep(1)  # how long it is away
        await cluster.nats.start()
    elif name == "mongo":
        cluster.mongo.kill()
        await asyncio.sleep(1)  # as above
        cluster.mongo.start()
    else:
        process = next(each for each in cluster.processes if each.name == name)
        process.kill()
        await asyncio.sleep(1)  # as above
        await process.start()
    return name


async def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path, report: Report) -> None:
    soak = Soak()
    dice = random.Random(soak.seed)
    async with Cluster(tmp_path, environment=_DEADLINES) as cluster:
        engine = await cluster.start_engine(parallel=64)
        for _ in range(3):
            await cluster.worker(engine=engine, WORKER_SLOTS="25")
        gateways = [cluster.gateway, await cluster.start_gateway()]
        people = [
            SoakClient(cluster, gateways, await cluster.session(), seed)
            for seed in range(1, _STREAMS + 1)
        ]
        await talk(people, 12, cluster.workers()[0])
        await balanced(cluster, within=60)

        async def forgotten() -> bool:
            keys = (await vitals(cluster)).keys
            return keys["catalog worker"] == len(cluster.workers())

        # The one that died in the warm-up is listed for a while.
        await eventually(forgotten, within=30, every=1)
        before = await vitals(cluster)
        watch = MemoryWatch(cluster)
        watching = asyncio.create_task(watch.run())
        killed: list[str] = []
        victims = in_turn(cluster, dice)
        begin = time.monotonic()
        stop = asyncio.Event()
        talking = asyncio.gather(*(person.run(stop) for person in people))
        while (left := soak.seconds - (time.monotonic() - begin)) > 0:
            await asyncio.wait({talking}, timeout=min(left, _BETWEEN_KILLS))
            if left > _BETWEEN_KILLS:
                killed.append(await kill(cluster, next(victims)))
        stop.set()
        await talking
        await end_tasks([watching])
        found = await balanced(cluster, within=150)

        async def as_before() -> bool:
            return await vitals(cluster) == before

        try:
            await eventually(as_before, within=60, every=3)
        except AssertionError:
            assert await vitals(cluster) == before
        after = await vitals(cluster)

    wrong = [trouble for person in people for trouble in person.wrong]
    told = {one: text for person in people for one, text in person.answered.items()}
    other = [one for one, text in told.items() if found.end_of(one).text != text]
    growth = watch.growth()
    most = max(growth, key=lambda name: growth[name], default="-")
    repaired = sum(person.repaired for person in people)
    referred = sum(person.referred for person in people)
    resumed = sum(person.resumed for person in people)
    measured = (
        f"{len(told)} answers, {len(killed)} kills, {resumed} resumed, "
        f"{repaired} repaired, {referred} referred to the whole, {len(wrong)} wrong, "
        f"{len(other)} recorded otherwise; RSS at most {growth.get(most, 0.0):+.0%} ({most})"
    )
    report("soak", f"{soak.seconds:.0f} s, {_STREAMS} streams, a kill each 20 s", measured,
           "0 lost or doubled, RSS +-10 %, nothing left behind")  # fmt: skip
    assert wrong == []
    assert other == []
    assert {name: by for name, by in growth.items() if by > 0.1} == {}
    more = {
        name: (before.descriptors[name], now)
        for name, now in after.descriptors.items()
        if now > before.descriptors[name] + 8  # connections that are kept for the next request
    }
    assert more == {}


def in_turn(cluster: Cluster, dice: random.Random) -> Iterator[str]:
    """Everybody in a random order, again and again."""
    while True:
        names = ["nats", "mongo", *(process.name for process in cluster.processes)]
        dice.shuffle(names)
        yield from names


async def talk(people: list[SoakClient], seconds: float, victim: Process) -> None:
    """Warm up; one worker dies, so that what is found out then once and for all is there."""
    stop = asyncio.Event()
    talking = asyncio.gather(*(person.run(stop) for person in people))
    await asyncio.wait({talking}, timeout=seconds / 2)
    victim.kill()
    await victim.start()
    await asyncio.wait({talking}, timeout=seconds / 2)
    stop.set()
    await talking
