"""A worker that dies at a named point: what its reader gets, and what is on record.

Seen red: see docs/reliability.md, for each row what was switched off.
"""

import time
from pathlib import Path

import pytest

from tests.faults.books import balanced, journal
from tests.faults.cluster import Cluster
from tests.faults.table import Report
from tests.faults.words import answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ACK_WAIT = 2.0


async def asked(cluster: Cluster, times: int = 1) -> None:
    """Return once the engine has got so many requests."""

    async def reached() -> bool:
        return len(await journal(cluster)) >= times

    await eventually(reached)


@pytest.mark.parametrize(
    ("point", "seed"),
    [
        pytest.param("token:0", None, marks=pytest.mark.slow),
        pytest.param("token:1", None, marks=pytest.mark.faults),
        ("token:15", None),
        pytest.param("token:15", 7, marks=pytest.mark.faults),
        pytest.param("token:29", 7, marks=pytest.mark.faults),
        pytest.param("token:29", None, marks=pytest.mark.faults),
    ],
)
async def test_a_stream_goes_on_when_its_worker_is_killed_at_a_token(
    cluster: Cluster, report: Report, point: str, seed: int | None
) -> None:
    text = f"Go on after {point} [demo tokens=30 tps=30]"
    victim = await cluster.worker(point)
    session = await cluster.session()
    await cluster.gate(closed=True)
    async with cluster.ask(text, sessionId=session, seed=seed) as reader:
        await asked(cluster)
        await cluster.worker()
        await cluster.gate(closed=False)
        await eventually(lambda: not victim.alive, within=10)
        died = time.monotonic()
        transcript = await reader.ended()

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text, seed=seed)
    end = (await balanced(cluster)).end_of(reader.completion_id)
    assert (end.status, end.attempts, end.text) == ("completed", 2, transcript.text)
    entries = await journal(cluster)
    assert [entry["outcome"] for entry in entries] == ["closed_by_client", "done"]
    row = "1" if point == "token:0" else "2"
    first = reader.asked_at + reader.first_content - died
    gap = first if row == "1" else reader.longest_gap
    what = "first token after the kill:" if row == "1" else "gap"
    how = "" if seed is None else ", with a seed"
    report(row, f"worker killed at {point} of 30{how}", f"{what} {gap:.1f} s, text whole", "<= 3 s")
    assert gap <= ACK_WAIT + 1


@pytest.mark.faults
async def test_with_the_default_ack_wait_a_stream_goes_on_within_eleven_seconds(
    tmp_path: Path, report: Report
) -> None:
    text = "Go on by default [demo tokens=30 tps=10]"
    async with Cluster(tmp_path, ack_wait="10s") as cluster:
        victim = await cluster.worker("token:15")
        await cluster.gate(closed=True)
        async with cluster.ask(text) as reader:
            await asked(cluster)
            await cluster.worker()
            await cluster.gate(closed=False)
            transcript = await reader.ended()
        assert not victim.alive
        end = (await balanced(cluster)).end_of(reader.completion_id)

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text)
    assert (end.status, end.attempts) == ("completed", 2)
    gap = reader.longest_gap
    measured = f"gap {gap:.1f} s, text whole"
    report("2", "worker killed at token:15 of 30, default ack wait (10 s)", measured, "<= 11 s")
    assert gap <= 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "what"),
    [("completed", "between completed and END"), ("end", "between END and ack")],
)
async def test_a_worker_killed_around_the_end_leaves_one_end_and_no_second_generation(
    cluster: Cluster, report: Report, point: str, what: str
) -> None:
    text = f"End at {point} [demo tokens=12 tps=0]"
    victim = await cluster.worker(point)
    session = await cluster.session()
    async with cluster.ask(text, sessionId=session) as reader:
        transcript = await reader.ended()
    await eventually(lambda: not victim.alive, within=10)
    await cluster.worker()
    found = await balanced(cluster)

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text)
    end = found.end_of(reader.completion_id)
    assert (end.status, end.attempts) == ("completed", 1)
    generations = len(await journal(cluster))
    report("3", f"worker killed {what}", f"1 completed, {generations} generation", "1 and 1")
    assert generations == 1


@pytest.mark.slow
# With a free slot it holds a pull, by which the broker could give it the request once more.
@pytest.mark.parametrize("slots", ["1", pytest.param("4", marks=pytest.mark.faults)])
async def test_a_worker_that_stood_still_says_nothing_into_its_successors_answer(
    cluster: Cluster, report: Report, slots: str
) -> None:
    limit = ACK_WAIT + 1
    text = f"Stand still with {slots} slots [demo tokens=40 tps=20]"
    sleeper = await cluster.worker("token:5", action="stop", WORKER_SLOTS=slots)
    session = await cluster.session()
    await cluster.gate(closed=True)
    async with cluster.ask(text, sessionId=session) as reader:
        await asked(cluster)
        await cluster.worker()
        await cluster.gate(closed=False)
        await eventually(lambda: sleeper.frozen)
        await eventually(lambda: reader.longest_gap > 1.0, within=limit + 5)
        # Its successor is in the middle of the answer when it wakes up.
        sleeper.thaw()
        transcript = await reader.ended()

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text)
    end = (await balanced(cluster)).end_of(reader.completion_id)
    assert (end.status, end.attempts, end.text) == ("completed", 2, transcript.text)
    what = f"worker with {slots} slots frozen at token 5, woken while its successor answers"
    gap = reader.longest_gap
    report("5", what, f"gap {gap:.1f} s, text whole, 1 end", f"<= {limit:.0f} s, no zombie output")
    assert gap <= limit


@pytest.mark.slow
async def test_sigterm_of_a_worker_under_load_costs_no_answer(
    cluster: Cluster, report: Report
) -> None:
    leaving = await cluster.worker(WORKER_SLOTS="8", WORKER_DRAIN_TIMEOUT="1s")
    texts = [f"Leave {n} [demo tokens={20 + 30 * n} tps=20]" for n in range(4)]
    readers = [cluster.ask(text).start() for text in texts]
    for reader in readers:
        await reader.has(1)
    await cluster.worker(WORKER_SLOTS="8")
    leaving.terminate()
    late = [cluster.ask(f"Late {n} [demo tokens=5 tps=0]").start() for n in range(4)]
    transcripts = [await reader.ended() for reader in [*readers, *late]]

    assert await leaving.ended() == 0
    assert [transcript.oddities for transcript in transcripts] == [[]] * 8
    failed = [transcript for transcript in transcripts if not transcript.whole]
    for reader, transcript in zip([*readers, *late], transcripts, strict=True):
        assert transcript.text in answers(reader.text)
    await balanced(cluster)
    gap = max(reader.longest_gap for reader in readers)
    what = "SIGTERM of a worker with 4 running, 4 more asked"
    line = "0 failed, handed over before the ack wait"
    report("6", what, f"{len(failed)} failed, longest gap {gap:.1f} s", line)
    assert failed == []
    assert gap < ACK_WAIT - 0.5
