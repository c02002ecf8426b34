"""More than fits: into the queue of a model, and onto the broker's disk."""

import subprocess
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.books import balanced, queued
from tests.faults.cluster import Cluster
from tests.faults.reader import Reader
from tests.faults.table import Report
from tests.faults.words import answers
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.faults]

_SIZE = 48
"""MiB of the small disk."""


async def test_a_full_queue_refuses_what_is_new_and_loses_nothing_of_the_accepted(
    tmp_path: Path, report: Report
) -> None:
    async with Cluster(tmp_path, environment={"PROVISION_QUEUE_LIMIT": "5"}) as cluster:
        await cluster.worker(WORKER_SLOTS="1")
        await cluster.gate(closed=True)
        readers: list[Reader] = []
        # Two in the first lane, five in the second.
        for number in range(7):
            readers.append(cluster.ask(f"Wait {number} [demo tokens=5 tps=0]").start())
            await eventually(lambda: _holds(cluster, len(readers)))
        refused = [cluster.ask(f"Too much {number}").start() for number in range(5)]
        for reader in refused:
            await reader.ended()
        await cluster.gate(closed=False)
        for reader in readers:
            transcript = await reader.ended()
            assert transcript.whole
            assert transcript.text in answers(reader.text)
        await balanced(cluster)

    codes = Counter(reader.status for reader in refused)
    waits = {reader.headers.get("retry-after") for reader in refused}
    report("22", "queue full (5), 5 more asked", f"{dict(codes)}, Retry-After {waits}, 0 of 7 lost",
           "429 with Retry-After, 0 lost")  # fmt: skip
    assert codes == {429: 5}
    assert all(wait and int(wait) > 0 for wait in waits)


async def _holds(cluster: Cluster, requests: int) -> bool:
    return await queued(cluster.jetstream) == requests


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "tmpfs", mount], check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a small disk")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def _fill(junk: Path) -> None:
    """Leave no block of the disk."""
    with suppress(OSError), junk.open("wb", buffering=0) as output:
        while output.write(b"\0" * 4096):
            pass


@pytest.mark.timeout(180)
async def test_a_full_disk_fails_visibly_and_loses_nothing_that_was_acknowledged(
    tmp_path: Path, small_disk: Path, report: Report
) -> None:
    broker = NatsServer(small_disk)
    async with Cluster(tmp_path, broker=broker) as cluster:
        await cluster.worker()
        before = [cluster.ask(f"Before {n} [demo tokens=5 tps=0]").start() for n in range(10)]
        for reader in before:
            assert (await reader.ended()).whole
        junk = small_disk / "junk"
        _fill(junk)
        full = [cluster.ask(f"Full {n} [demo tokens=5 tps=0]").start() for n in range(10)]
        # Who was accepted before the last block was gone waits for its end to be recorded.
        await eventually(lambda: any(reader.over for reader in full), within=30)
        junk.unlink()
        broker.stop()
        await broker.start()
        for reader in full:
            await reader.ended(within=60)

        async def serves() -> bool:
            async with cluster.ask("After [demo tokens=5 tps=0]") as reader:
                return (await reader.ended()).whole

        await eventually(serves, within=40, every=0.5)
        found = await balanced(cluster, within=60)
        ended = {end.completion_id for end in found.completed if end.status == "completed"}
        whole = [reader for reader in [*before, *full] if reader.transcript.whole]
        lost = [reader for reader in whole if reader.completion_id not in ended]

    codes = dict(Counter(reader.status for reader in full))
    report("23", f"disk full ({_SIZE} MiB tmpfs), 10 asked meanwhile",
           f"statuses {codes}, {len(lost)} acknowledged and lost, serves after space and restart",
           "fail visibly, 0 lost")  # fmt: skip
    assert lost == []
    assert all(reader.transcript.whole or reader.status >= 500 for reader in full)
    assert any(reader.status >= 500 for reader in full)
