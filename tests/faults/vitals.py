"""What must not grow: memory, descriptors, tasks, and what the broker keeps for its clients."""

import asyncio
import signal
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.contracts import streams
from shared.messaging.jetstream import StoredMessage
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.support.waiting import eventually

_TASKS = ("gateway", "worker", "history")
_TTL_SLACK = timedelta(seconds=5)


@dataclass(frozen=True)
class Vitals:
    """One look at everything; equal looks mean that nothing was left behind."""

    subscriptions: int
    consumers: int
    keys: dict[str, int]
    tasks: dict[str, int]
    descriptors: dict[str, int] = field(compare=False)


async def vitals(cluster: Cluster) -> Vitals:
    """Look once."""
    seen = (await cluster.http.get(f"{cluster.monitor}/subsz")).json()
    account = (await cluster.http.get(f"{cluster.monitor}/jsz")).json()
    keys: Counter[str] = Counter()
    for bucket in (streams.TURNS, streams.IDEMPOTENCY, streams.LIMITS, streams.CATALOG):
        stream = streams.bucket_stream(bucket)
        async for stored in cluster.jetstream.replay(stream, f"$KV.{bucket}.>"):
            kind = stored.subject.split(".")[2] if bucket == streams.CATALOG else "keys"
            if not _outlived(stored):
                keys[f"{bucket} {kind}"] += 1
    ours = [process for process in cluster.processes if process.alive]
    return Vitals(
        subscriptions=int(seen["num_subscriptions"]),
        consumers=int(account["consumers"]),
        keys=dict(keys),
        tasks={p.name: await _tasks(p) for p in ours if p.name.startswith(_TASKS)},
        descriptors={process.name: process.stats().num_fds() for process in ours},
    )


def _outlived(stored: StoredMessage) -> bool:
    """Whether its time to live is over.

    nats-server 2.15, killed with -9, brings keys back that had expired, and then forgets their TTL:
    it looks for it only behind the last state that it had saved. Readers of leases must not trust
    the TTL alone.
    """
    ttl = stored.headers.get("Nats-TTL")
    age = datetime.now(UTC) - stored.time
    return ttl is not None and age > timedelta(seconds=int(ttl)) + _TTL_SLACK


async def _tasks(process: Process) -> int:
    before = len(process.logged("tasks"))
    process.stats().send_signal(signal.SIGUSR1)
    await eventually(lambda: len(process.logged("tasks")) > before)
    return int(process.logged("tasks")[-1]["count"])


class MemoryWatch:
    """Samples the memory of every life of every process."""

    def __init__(self, cluster: Cluster, *, every: float = 2.0, warm_up: int = 10) -> None:
        """Watch ``cluster``; the first ``warm_up`` samples of each life do not count."""
        self._cluster = cluster
        self._every = every
        self._warm_up = warm_up
        self._samples: dict[tuple[str, int], list[int]] = defaultdict(list)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for process in self._cluster.processes:
                if process.alive:
                    size = int(process.stats().memory_info().rss)
                    self._samples[process.name, process.pid].append(size)
            await asyncio.sleep(self._every)

    def growth(self) -> dict[str, float]:
        """By how much each life has grown since it was warm: 0.1 is a tenth.

        Medians of the first and the last fifth of a life: single samples hold what is just on its
        way. A life that is too short says nothing.
        """
        found: dict[str, float] = {}
        for (name, pid), samples in self._samples.items():
            warm = samples[self._warm_up :]
            if len(warm) < 10:
                continue
            fifth = len(warm) // 5
            first, last = _median(warm[:fifth]), _median(warm[-fifth:])
            found[f"{name} ({pid})"] = last / first - 1
        return found


def _median(values: list[int]) -> float:
    return float(sorted(values)[len(values) // 2])
