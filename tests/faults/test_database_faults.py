"""MongoDB and the history service die, hang, or are told everything twice."""

import asyncio
import time

import pytest

from shared.contracts import streams, subjects
from shared.contracts.ids import new_completion_id
from shared.contracts.session_questions import GET_SESSION
from tests.faults.books import balanced, books, dead_letters, documents
from tests.faults.cluster import Cluster
from tests.faults.reader import Reader
from tests.faults.table import Report
from tests.faults.words import answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


async def completed(cluster: Cluster, count: int, *, at_once: int = 16) -> list[Reader]:
    """So many whole answers."""
    permits = asyncio.Semaphore(at_once)

    async def one(number: int) -> Reader:
        async with permits, cluster.ask(f"Fact {number} [demo tokens=3 tps=0]") as reader:
            transcript = await reader.ended()
            assert transcript.whole, reader.raw[-300:]
            assert transcript.text in answers(reader.text)
            return reader

    return await asyncio.gather(*(one(number) for number in range(count)))


async def stored(cluster: Cluster) -> int:
    return len(await documents(cluster, "usage"))


@pytest.mark.parametrize(
    ("count", "away"), [(30, 3.0), pytest.param(200, 60.0, marks=pytest.mark.faults)]
)
@pytest.mark.timeout(180)
async def test_completions_go_on_without_the_database_and_are_stored_later(
    cluster: Cluster, report: Report, count: int, away: float
) -> None:
    await cluster.worker(WORKER_SLOTS="16")
    before = await stored(cluster)
    cluster.mongo.kill()
    begin = time.monotonic()
    await completed(cluster, count)
    took = time.monotonic() - begin
    await asyncio.sleep(max(0.0, away - took))  # how long it is away
    cluster.mongo.start()
    begin = time.monotonic()
    await balanced(cluster)
    drained = time.monotonic() - begin

    lost = before + count - await stored(cluster)
    buried = await dead_letters(cluster.jetstream)
    report("12", f"MongoDB killed for {away:.0f} s, {count} completions",
           f"{lost} lost, {buried} buried, drained in {drained:.1f} s, chat unaffected",
           "0 lost, 0 buried, <= 30 s")  # fmt: skip
    assert (lost, buried) == (0, 0)
    assert drained <= 30


@pytest.mark.faults
@pytest.mark.parametrize("hung", [4.0, 30.0])
async def test_a_database_that_hangs_does_not_hold_up_historys_event_loop(
    cluster: Cluster, report: Report, hung: float
) -> None:
    await cluster.worker()
    cluster.mongo.freeze()
    await completed(cluster, 10)
    begin, slowest, states = time.monotonic(), 0.0, set()
    while time.monotonic() - begin < hung:
        asked = time.monotonic()
        # Refused before the database is asked: so fast is history's event loop.
        await cluster.client.request(subjects.history(GET_SESSION.name), b"no query", timeout=5)
        slowest = max(slowest, time.monotonic() - asked)
        reply = await cluster.http.get(f"{cluster.gateway.url}/v1/health")
        states.add((reply.status_code, reply.json()["status"]))
        await asyncio.sleep(0.05)  # the pace of the probe
    cluster.mongo.thaw()
    await balanced(cluster)

    report("13", f"MongoDB frozen for {hung:.0f} s",
           f"history answers within {slowest * 1000:.0f} ms, health says {sorted(states)}",
           "< 100 ms, degraded")  # fmt: skip
    assert slowest < 0.1
    assert (200, "degraded") in states


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.faults)])
async def test_history_killed_between_storing_and_acknowledging_doubles_nothing(
    cluster: Cluster, report: Report, kills: int
) -> None:
    await cluster.worker(WORKER_SLOTS="16")
    before = await stored(cluster)
    cluster.history.kill()
    # A killed process has events in hand, which come again only after this time.
    cluster.provisioner.freeze()
    await redeliver_after(cluster, 1.0)
    await completed(cluster, 40)
    for _ in range(kills):
        await cluster.history.start(FAULT_POINT="stored:4")
        assert await cluster.history.ended() == -9
    await cluster.history.start()
    await balanced(cluster)
    cluster.provisioner.thaw()

    doubled = await stored(cluster) - before - 40
    report("14", f"history killed {kills} times between storing and ack", f"{doubled} doubled", "0")
    assert doubled == 0


async def redeliver_after(cluster: Cluster, seconds: float) -> None:
    config = {**streams.history_consumer_config(), "ack_wait": int(seconds * 1e9)}
    await cluster.jetstream.api(
        f"CONSUMER.DURABLE.CREATE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}",
        {"stream_name": streams.EVENTS, "config": config},
    )


@pytest.mark.faults
async def test_one_poisonous_event_among_a_hundred_is_buried_and_delays_nobody(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker(WORKER_SLOTS="16")
    before, buried = await stored(cluster), await dead_letters(cluster.jetstream)
    poison = subjects.completed(new_completion_id())
    cluster.history.freeze()
    await completed(cluster, 25)
    poisoned = await cluster.jetstream.publish(poison, b"\x00 no event at all")
    await completed(cluster, 25)
    begin = time.monotonic()
    cluster.history.thaw()

    async def through() -> bool:
        return await stored(cluster) == before + 50

    await eventually(through, within=20)
    took = time.monotonic() - begin
    await eventually(lambda: cluster.history.logged("event_buried"))
    found = await dead_letters(cluster.jetstream) - buried
    letter = await cluster.jetstream.last(streams.DEAD_LETTERS, subjects.dead_letters("history"))
    # The books know nothing of poison.
    await cluster.jetstream.delete(streams.EVENTS, poisoned)
    await balanced(cluster)

    assert letter is not None
    assert letter.data == b"\x00 no event at all"
    report("15", "a poisonous event among 100", f"100 stored in {took:.1f} s, {found} buried",
           "100 stored, 1 buried with its bytes")  # fmt: skip
    assert found == 1


@pytest.mark.faults
async def test_every_event_delivered_twice_more_changes_no_byte(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker(WORKER_SLOTS="16")
    session = await cluster.session()
    async with cluster.ask("In a session [demo tokens=9 tps=0]", sessionId=session) as reader:
        await reader.ended()
    await completed(cluster, 20)
    await balanced(cluster)
    names = ("sessions", "messages", "usage", "completions")
    was = [await documents(cluster, name) for name in names]
    events = len((await books(cluster)).completed) * 2

    for _ in range(2):
        # A durable that is made anew begins with the first event.
        await cluster.jetstream.api(f"CONSUMER.DELETE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}")
        await eventually(lambda: replayed(cluster, events), within=30)
    same = [await documents(cluster, name) for name in names] == was
    report("16", f"all {events} events delivered twice more",
           "no byte differs" if same else "DIFFERENT", "no byte differs")  # fmt: skip
    assert same


async def replayed(cluster: Cluster, events: int) -> bool:
    try:
        info = await cluster.jetstream.api(
            f"CONSUMER.INFO.{streams.EVENTS}.{streams.HISTORY_CONSUMER}"
        )
    except Exception:  # noqa: BLE001 - it is just being made
        return False
    return bool(info["ack_floor"]["consumer_seq"] >= events and not info["num_pending"])
