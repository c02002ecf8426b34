"""Everything is restarted while people use it; and a gateway whose clock is wrong."""

import asyncio
import time
from itertools import count

import pytest

from tests.faults.books import balanced, books, documents
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.reader import Reader
from tests.faults.table import Report
from tests.faults.words import answers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


class Load:
    """Completions at a steady rate, sent as a load balancer would: to a gateway that takes them."""

    def __init__(self, cluster: Cluster, gateways: list[Process], rate: float) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._rate = rate
        self._tasks: list[asyncio.Task[None]] = []
        self.readers: list[Reader] = []
        self.failures: list[str] = []
        self.unanswered = 0
        """Connections closed without a byte: OpenAI's clients ask again by themselves."""

    async def run(self, until: asyncio.Event) -> None:
        """Ask until told to stop, and wait for every answer."""
        for number in count():
            if until.is_set():
                break
            self._tasks.append(asyncio.create_task(self._ask(number)))
            await asyncio.sleep(1 / self._rate)
        await asyncio.gather(*self._tasks)

    async def _ask(self, number: int) -> None:
        text = f"Question {number} [demo tokens=15 tps=15]"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for gateway in self._gateways[number % 2 :] + self._gateways[: number % 2]:
                reader = self._cluster.ask(text, gateway=gateway)
                async with reader:
                    transcript = await reader.ended()
                if reader.refused or reader.unanswered:
                    self.unanswered += reader.unanswered
                    continue
                self.readers.append(reader)
                if not transcript.whole or transcript.oddities:
                    self.failures.append(f"{reader.status} {reader.broken} {reader.raw[-200:]!r}")
                elif transcript.text not in answers(text):
                    self.failures.append(f"another text: {transcript.text!r}")
                return
            await asyncio.sleep(0.1)
        self.failures.append(f"nobody took question {number}")


async def restarted(process: Process) -> None:
    """SIGTERM, its drain, and a new life."""
    process.terminate()
    assert await process.ended(within=40) == 0, process.output()[-2000:]
    await process.start()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "seconds"), [(8.0, 6.0), pytest.param(20.0, 180.0, marks=pytest.mark.faults)]
)
@pytest.mark.timeout(400)
async def test_a_rolling_restart_under_load_fails_no_request(
    cluster: Cluster, report: Report, rate: float, seconds: float
) -> None:
    engine = await cluster.start_engine(parallel=64)
    gateways = [cluster.gateway, await cluster.start_gateway()]
    workers = [await cluster.worker(engine=engine, WORKER_SLOTS="32") for _ in range(2)]
    before = len((await books(cluster)).accepted)
    load, stop = Load(cluster, gateways, rate), asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    begin, restarts = time.monotonic(), 0
    while not restarts or time.monotonic() - begin < seconds:
        for process in (workers[0], gateways[1], cluster.history, workers[1], gateways[0]):
            await restarted(process)
            restarts += 1
    stop.set()
    await running
    found = await balanced(cluster, within=60)
    gateways[1].kill()

    ended = {end.completion_id for end in found.completed if end.status == "completed"}
    lost = [one for one in load.readers if one.headers.get("x-completion-id") not in ended]
    begun = len(found.accepted) - before
    measured = (
        f"{restarts} restarts in {time.monotonic() - begin:.0f} s, "
        f"{len(load.failures)} of {len(load.readers)} failed, {len(lost)} events lost, "
        f"{load.unanswered} connections closed unanswered"
    )
    report("25", f"rolling restart at {rate:.0f} requests/s", measured, "0 failed, 0 lost")
    assert load.failures == []
    assert lost == []
    # What got no answer was not begun either: nothing ran twice.
    assert begun == len(load.readers)


@pytest.mark.faults
async def test_a_gateway_whose_clock_is_wrong_keeps_the_order_of_a_session(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker()
    wrong = [await cluster.start_gateway(FAULT_SKEW_SECONDS=skew) for skew in ("30", "-30")]
    session = await cluster.session()
    said: list[str] = []
    messages: list[dict[str, str]] = []
    for turn in range(6):
        text = f"Turn {turn} [demo tokens=4 tps=0]"
        messages.append({"role": "user", "content": text})
        gateway = wrong[turn % 2]
        async with cluster.ask(
            text, gateway=gateway, sessionId=session, messages=messages
        ) as reader:
            transcript = await reader.ended()
        assert transcript.whole, reader.raw
        messages.append({"role": "assistant", "content": transcript.text})
        said += [text, transcript.text]
    await balanced(cluster)

    reply = await cluster.http.get(f"{cluster.gateway.url}/api/chat/sessions/{session}/")
    stored = [message["content"] for message in reply.json()["messages"]]
    depths = [each["depth"] for each in await documents(cluster, "messages")
              if each["session_id"] == session]  # fmt: skip
    for gateway in wrong:
        gateway.kill()
    kept = "kept" if stored == said else "LOST"
    report("20", "two gateways 60 s apart, turns in turn", f"order {kept}", "kept")
    assert stored == said
    assert sorted(depths) == list(range(1, 13))
