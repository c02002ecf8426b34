"""The broker dies, is away, or loses what was made in it: answers and books stay whole."""

import asyncio
import time

import pytest

from shared.contracts import streams
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError
from tests.faults.books import balanced, documents
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.reader import Reader
from tests.faults.table import Report
from tests.faults.words import answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

_DURABLE = streams.request_consumer("demo", "a")


async def decoding(cluster: Cluster, count: int, wishes: str) -> list[Reader]:
    """So many readers, each of which has got something."""
    engine = await cluster.start_engine(parallel=count)
    for _ in range(2):
        await cluster.worker(engine=engine, WORKER_SLOTS=str(count // 2))
    readers = [cluster.ask(f"Stream {n} {wishes}").start() for n in range(count)]
    for reader in readers:
        await reader.has(1)
    return readers


async def all_whole(readers: list[Reader], *, within: float = 60.0) -> None:
    for reader in readers:
        transcript = await reader.ended(within=within)
        assert transcript.oddities == []
        assert transcript.whole, (reader.status, reader.raw[-300:])
        assert transcript.text in answers(reader.text)


def services(cluster: Cluster) -> list[Process]:
    running = (each for each in cluster.processes if each.alive)
    return [each for each in running if not each.name.startswith("engine")]


async def serves(cluster: Cluster) -> float:
    """Seconds until a completion succeeds again."""
    begin = time.monotonic()

    async def answered() -> bool:
        async with cluster.ask("Again? [demo tokens=2 tps=0]") as reader:
            return (await reader.ended()).whole

    await eventually(answered, within=30, every=0.2)
    return time.monotonic() - begin


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.faults)])
async def test_a_broker_killed_in_mid_stream_costs_no_token(
    cluster: Cluster, report: Report, count: int
) -> None:
    readers = await decoding(cluster, count, "[demo tokens=60 tps=20]")

    cluster.nats.kill()
    await asyncio.sleep(1)  # how long it is away
    await cluster.nats.start()
    await all_whole(readers)
    await balanced(cluster)

    gap = max(reader.longest_gap for reader in readers)
    what = f"broker killed for 1 s with {count} streams"
    report("9", what, f"0 tokens lost, longest gap {gap:.1f} s", "0 lost, all terminals, no 5xx")


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_a_broker_that_is_away_for_a_minute_is_waited_for_without_burning_a_core(
    cluster: Cluster, report: Report
) -> None:
    readers = await decoding(cluster, 4, "[demo tokens=60 tps=20]")
    cluster.nats.stop()
    parts = services(cluster)
    used = [part.cpu_seconds() for part in parts]
    begin, refused = time.monotonic(), set()
    while time.monotonic() - begin < 60:
        async with cluster.ask("Anybody? [demo tokens=2 tps=0]") as reader:
            await reader.ended()
            refused.add(reader.status)
        await asyncio.sleep(2)  # the pace of somebody who asks again
    away = time.monotonic() - begin
    busiest = max(part.cpu_seconds() - was for part, was in zip(parts, used, strict=True)) / away
    await cluster.nats.start()
    back = await serves(cluster)
    await all_whole(readers)
    await balanced(cluster)

    measured = f"busiest service {busiest:.1%} of a core, new requests {refused}, back {back:.1f} s"
    report("10", "broker stopped for 60 s", measured, "< 20 %, 503, <= 5 s")
    assert all(part.alive for part in parts)
    assert refused == {503}
    assert busiest < 0.2
    assert back <= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation",
    [
        f"CONSUMER.DELETE.{streams.REQUESTS}.{_DURABLE}",
        pytest.param(
            f"CONSUMER.DELETE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}", marks=pytest.mark.faults
        ),
        pytest.param(f"STREAM.DELETE.{streams.CHUNKS}", marks=pytest.mark.faults),
        pytest.param(f"STREAM.DELETE.{streams.REQUESTS}", marks=pytest.mark.faults),
    ],
)
async def test_what_is_deleted_under_load_is_made_again_and_costs_nothing(
    cluster: Cluster, report: Report, operation: str
) -> None:
    readers = await decoding(cluster, 6, "[demo tokens=80 tps=20]")
    parts = services(cluster)
    used = [part.cpu_seconds() for part in parts]
    begin = time.monotonic()
    await cluster.jetstream.api(operation)
    kind, _, name = operation.partition(".DELETE.")

    async def there() -> bool:
        try:
            await cluster.jetstream.api(f"{kind}.INFO.{name}")
        except (ApiError, BrokerUnavailable):
            return False
        return True

    await eventually(there, within=15)
    back = time.monotonic() - begin
    await serves(cluster)
    await all_whole(readers)
    lasted = time.monotonic() - begin
    busiest = max(part.cpu_seconds() - was for part, was in zip(parts, used, strict=True)) / lasted
    await balanced(cluster)

    what = f"{kind.lower()} {name} deleted with 6 streams"
    report("11", what, f"there again after {back:.1f} s, busiest service {busiest:.0%}",
           "<= 10 s, < 20 %")  # fmt: skip
    assert back <= 10
    assert busiest < 0.2


@pytest.mark.faults
async def test_what_the_broker_has_acknowledged_survives_its_kill(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker(WORKER_SLOTS="8")
    cluster.history.freeze()
    readers = [cluster.ask(f"Keep {n} [demo tokens=3 tps=0]").start() for n in range(20)]
    await all_whole(readers)

    cluster.nats.kill()
    await cluster.nats.start()
    cluster.history.thaw()
    found = await balanced(cluster)

    ended = {event.completion_id for event in found.completed}
    lost = [reader for reader in readers if reader.completion_id not in ended]
    billed = {document["_id"] for document in await documents(cluster, "usage")}
    assert {reader.completion_id for reader in readers} <= billed
    report("27", "broker killed right behind 40 acknowledged events", f"{len(lost)} lost", "0 lost")
    assert lost == []
