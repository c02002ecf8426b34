"""Stop, pressed at any moment and at any gateway: the engine's log is the witness."""

import asyncio
import time

import pytest

from tests.faults.books import balanced, journal, queued
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.reader import COMPLETIONS, Reader
from tests.faults.table import Report
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

RESUMABLE = {"X-Stream-Resume": "true"}


async def cancel(cluster: Cluster, gateway: Process, reader: Reader) -> int:
    """Press stop at this gateway; gives the status."""
    await eventually(lambda: "x-completion-id" in reader.headers)
    address = f"{gateway.url}{COMPLETIONS}/{reader.completion_id}/cancel"
    return (await cluster.http.post(address)).status_code


@pytest.mark.slow
async def test_a_cancel_stops_what_runs_and_what_waits_from_any_gateway(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker(WORKER_SLOTS="1")
    other = await cluster.start_gateway()
    running = cluster.ask("Running [demo tokens=3000 tps=30]", headers=RESUMABLE).start()
    await running.has(1)
    waiting = cluster.ask("Waiting [demo tokens=3000 tps=30]", headers=RESUMABLE).start()

    async def both() -> bool:
        return await queued(cluster.jetstream) == 2

    await eventually(both)
    assert await cancel(cluster, other, waiting) == 200
    pressed = time.time()
    assert await cancel(cluster, other, running) == 200
    for reader in (running, waiting):
        await reader.ended()
    found = await balanced(cluster)
    other.kill()

    ends = [found.end_of(reader.completion_id) for reader in (running, waiting)]
    entries = await journal(cluster)
    took = entries[0]["closed_at"] - pressed
    measured = f"engine closed after {took * 1000:.0f} ms, {len(entries)} generation of 2"
    what = "cancel at another gateway, one running and one queued"
    report("19", what, measured, "<= 300 ms, the queued one never runs")
    assert [end.status for end in ends] == ["cancelled", "cancelled"]
    assert ends[0].text == running.transcript.text
    assert len(entries) == 1
    assert took <= 0.3


@pytest.mark.slow
async def test_a_cancel_that_races_the_pull_has_one_outcome(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker(WORKER_SLOTS="16")
    readers = [
        cluster.ask(f"Race {n} [demo tokens=3000 tps=50]", headers=RESUMABLE).start()
        for n in range(24)
    ]
    statuses = await asyncio.gather(
        *(cancel(cluster, cluster.gateway, reader) for reader in readers)
    )
    cancelled = time.time()
    for reader in readers:
        await reader.ended()
    found = await balanced(cluster)

    ends = [found.end_of(reader.completion_id).status for reader in readers]
    entries = await journal(cluster)
    latest = max((entry["ended_at"] - cancelled for entry in entries), default=0.0)
    measured = f"{len(entries)} had begun, the last stops {max(0.0, latest):.2f} s later"
    report("19", "24 cancels that race the pull", measured, "none after 1 s, cancelled once")
    assert statuses == [200] * 24
    assert ends == ["cancelled"] * 24
    assert latest <= 1.0
