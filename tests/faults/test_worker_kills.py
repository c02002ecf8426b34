"""A worker that dies at a named point: what its reader gets, and what is on record.

Seen red: see docs/reliability.md, for each row what was switched off.
"""

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
    ("point", "seed"), [("token:0", None), ("token:1", None), ("token:15", None), ("token:29", 7)]
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
        transcript = await reader.ended()

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text, seed=seed)
    end = (await balanced(cluster)).end_of(reader.completion_id)
    assert (end.status, end.attempts, end.text) == ("completed", 2, transcript.text)
    entries = await journal(cluster)
    assert [entry["outcome"] for entry in entries] == ["closed_by_client", "done"]
    row = "1" if point == "token:0" else "2"
    gap = reader.first_content if row == "1" else reader.longest_gap
    what = "first token after" if row == "1" else "gap"
    report(row, f"worker killed at {point} of 30", f"{what} {gap:.1f} s, text whole", "<= 3 s")
    assert gap <= ACK_WAIT + 1
