"""Gateways die, are cut off, or lose their client: the answer goes on, or ends as it should."""

import time

import pytest

from tests.faults.books import balanced, journal
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.proxy import Proxy
from tests.faults.reader import COMPLETIONS, Reader
from tests.faults.table import Report
from tests.faults.transcript import read
from tests.faults.words import answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

RESUMABLE = {"X-Stream-Resume": "true"}


def resumed(gateway: Process, reader: Reader) -> Reader:
    """The same client, come back to another gateway with what it has."""
    last = f"{reader.completion_id}:{reader.transcript.indices[-1]}"
    address = f"{COMPLETIONS}/{reader.completion_id}?stream=true"
    return Reader.following(gateway.url, address, **{"Last-Event-ID": last})


async def test_a_client_whose_gateway_was_killed_goes_on_at_another_one(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker()
    doomed = await cluster.start_gateway()
    session = await cluster.session()
    text = "Come back [demo tokens=60 tps=20]"
    async with cluster.ask(text, gateway=doomed, sessionId=session, headers=RESUMABLE) as first:
        await first.has(40)
        doomed.kill()
        await first.ended()
    # What came after the last blank line is half an event: a client throws it away.
    first.arrivals = [(0.0, first.raw[: first.raw.rfind(b"\n\n") + 2])]
    async with resumed(cluster.gateway, first) as second:
        await eventually(lambda: second.transcript.text)
        back = second.first_content
        await second.ended()

    joined = read(first.raw + second.raw)
    assert joined.oddities == []
    assert joined.whole
    assert joined.indices == list(range(len(joined.indices)))
    assert joined.text in answers(text)
    end = (await balanced(cluster)).end_of(first.completion_id)
    assert (end.status, end.text, end.attempts) == ("completed", joined.text, 1)
    assert len(await journal(cluster)) == 1
    measured = f"0 missing, 0 twice, {back * 1000:.0f} ms until it goes on"
    report("7", "gateway killed, client resumes at another", measured, "0, 0, < 500 ms")
    assert back < 0.5


@pytest.mark.faults
async def test_an_answer_whose_gateway_and_client_are_gone_stops_and_is_billed(
    cluster: Cluster, report: Report
) -> None:
    await cluster.worker()
    doomed = await cluster.start_gateway()
    async with cluster.ask("Alone [demo tokens=2000 tps=20]", gateway=doomed) as reader:
        await reader.has(1)
        doomed.kill()
        begin = time.monotonic()
        await reader.ended()

    async def stopped() -> bool:
        return bool((await journal(cluster))[0]["outcome"] == "closed_by_client")

    await eventually(stopped, within=25)
    took = time.monotonic() - begin
    end = (await balanced(cluster)).end_of(reader.completion_id)
    assert end.status == "cancelled"
    assert end.usage is not None
    measured = f"engine stops after {took:.1f} s, partial and usage recorded"
    report("8", "gateway killed, client never returns", measured, "<= 16 s")
    assert took <= 16


@pytest.mark.slow
@pytest.mark.parametrize("point", ["accepted", pytest.param("queued", marks=pytest.mark.faults)])
async def test_a_gateway_killed_in_the_middle_of_admission_leaves_one_end(
    cluster: Cluster, report: Report, point: str
) -> None:
    await cluster.worker()
    doomed = await cluster.start_gateway(
        FAULT_POINT=point, CHAT_WAITING_DEADLINE="1s", CHAT_GENERATING_DEADLINE="3s"
    )
    session = await cluster.session()
    text = f"Admit {point} [demo tokens=5 tps=0]"
    begin = time.monotonic()
    async with cluster.ask(text, gateway=doomed, sessionId=session) as reader:
        await reader.ended()
    assert await doomed.ended() == -9
    found = await balanced(cluster)
    took = time.monotonic() - begin

    end = next(end for end in found.completed if end.place and end.place.session_id == session)
    expected = "failed" if point == "accepted" else "completed"
    report("8", f"gateway killed right after it {point}", f"1 end, {end.status}, {took:.1f} s",
           f"1 end, {expected}")  # fmt: skip
    assert end.status == expected
    assert len(await journal(cluster)) == (0 if point == "accepted" else 1)


@pytest.mark.parametrize("grace", [0.0, pytest.param(2.0, marks=pytest.mark.faults)])
async def test_a_client_that_leaves_stops_the_engine(
    cluster: Cluster, report: Report, grace: float
) -> None:
    await cluster.worker()
    gateway = await cluster.start_gateway(API_RESUME_GRACE=f"{grace or 60}s")
    headers = RESUMABLE if grace else {}
    text = f"Leave {grace} [demo tokens=2000 tps=20]"
    async with cluster.ask(text, gateway=gateway, headers=headers) as reader:
        await reader.has(1)
        await reader.leave()
        left = time.time()

    async def stopped() -> float | None:
        closed: float | None = (await journal(cluster))[0]["closed_at"]
        return closed

    closed_at = await eventually(stopped, within=grace + 5)
    assert closed_at is not None
    took = closed_at - left
    end = (await balanced(cluster)).end_of(reader.completion_id)
    gateway.kill()
    what = f"resumable, grace {grace:.0f} s" if grace else "plain"
    report("18", f"client leaves ({what})", f"engine sees it after {took:.2f} s",
           f"<= {grace + 1:.0f} s")  # fmt: skip
    assert end.status == "cancelled"
    assert grace <= took + 0.1
    assert took <= grace + 1


@pytest.mark.faults
@pytest.mark.parametrize("gone", [3.0, 15.0])
async def test_a_gateway_that_is_cut_off_from_the_broker_repairs_its_streams(
    cluster: Cluster, report: Report, gone: float
) -> None:
    await cluster.worker()
    async with Proxy(cluster.nats.port) as proxy:
        gateway = await cluster.start_gateway(NATS_URL=f"nats://127.0.0.1:{proxy.port}")
        text = f"Cut off {gone} [demo tokens=60 tps=20]"
        async with cluster.ask(text, gateway=gateway) as reader:
            await reader.has(1)
            proxy.blackhole()
            begin = time.monotonic()
            async with cluster.ask("Anybody? [demo tokens=2]", gateway=gateway) as refused:
                await refused.ended()
            answered = time.monotonic() - begin
            await eventually(lambda: time.monotonic() - begin > gone, within=gone + 5)
            proxy.heal()
            transcript = await reader.ended()
        gateway.kill()

    assert transcript.oddities == []
    assert transcript.whole
    assert transcript.text in answers(text)
    await balanced(cluster)
    measured = f"text whole, 1 terminal; a new request gets {refused.status} in {answered:.1f} s"
    report("26", f"gateway cut off from NATS for {gone:.0f} s", measured, "no hang, no dup")
    assert refused.status == 503
    assert answered < 5


@pytest.mark.faults
async def test_a_gateway_that_stays_cut_off_says_so(cluster: Cluster, report: Report) -> None:
    async with Proxy(cluster.nats.port) as proxy:
        gateway = await cluster.start_gateway(NATS_URL=f"nats://127.0.0.1:{proxy.port}")
        proxy.blackhole()
        begin = time.monotonic()

        async def not_ready() -> bool:
            return (await cluster.http.get(f"{gateway.url}/readyz")).status_code == 503

        await eventually(not_ready, within=60, every=0.2)
        took = time.monotonic() - begin
        gateway.kill()
    report(
        "26", "gateway cut off from NATS for good", f"/readyz is 503 after {took:.0f} s", "<= 25 s"
    )
    assert took <= 25
