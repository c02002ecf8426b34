"""A cancel reaches a completion wherever it is, through whichever gateway; it has one outcome."""

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import FrameKind
from shared.contracts.ids import CompletionId, UserId, new_completion_id
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, chunks_of
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
ADDRESS = "/v1/chat/completions"


class Two:
    """Two gateways on one broker: one is asked for completions, the other for cancels."""

    def __init__(self, here: RunningGateway, there: RunningGateway, jetstream: JetStream) -> None:
        self.here, self.there = here, there
        self._jetstream = jetstream

    def ask(self, **fields: object) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.here.http.post(ADDRESS, json={**ASK, **fields}))

    async def cancel(self, completion_id: str, slash: str = "") -> httpx.Response:
        return await self.there.http.post(f"{ADDRESS}/{completion_id}/cancel{slash}")

    async def queued(self) -> CompletionId:
        """The id of the one request that waits."""

        async def found() -> str | None:
            notes = [m async for m in self._jetstream.replay("KV_cancellations", "$KV.*.queued.*")]
            return notes[0].subject.rsplit(".", 1)[-1] if notes else None

        return CompletionId(str(await eventually(found)))

    async def ends(self) -> list[CompletionCompleted]:
        replay = self._jetstream.replay(streams.EVENTS, "chat.events.completed.*")
        return [CompletionCompleted.from_bytes(m.data) async for m in replay]


@pytest.fixture
async def two(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> AsyncGenerator[Two]:
    settings = quick_settings(nats_server.url)
    async with RunningGateway(settings) as here, RunningGateway(settings) as there:
        yield Two(here, there, provisioned)


async def test_a_queued_stream_is_cancelled_through_another_gateway(
    two: Two, worker: ScriptedWorker
) -> None:
    answer = two.ask(stream=True)
    completion_id = await two.queued()

    cancelled = await two.cancel(completion_id, slash="/")

    assert cancelled.status_code == 200
    body = cancelled.json()
    assert (body["id"], body["object"]) == (completion_id, "chat.completion")
    assert (body["status"], body["alreadyEnded"], body["already_ended"]) == (
        "cancelled",
        False,
        False,
    )
    # Before anything was sent a failure is an HTTP status; told at once, not after a silence.
    response = await asyncio.wait_for(answer, 0.4)
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "cancelled"
    assert await worker.nothing_waits()
    (end,) = await two.ends()
    assert (end.status, end.attempts) == (CompletionStatus.CANCELLED, 0)


async def test_a_running_stream_ends_with_the_error_and_keeps_what_was_said(
    two: Two, worker: ScriptedWorker
) -> None:
    answer = two.ask(stream=True)
    job = await worker.take()
    await job.say("Some ")
    cancelling = asyncio.create_task(two.cancel(job.command.completion_id))
    async with asyncio.timeout(1):
        await job.cancelled.wait()
    await job.end(CompletionStatus.CANCELLED)

    cancelled = await cancelling
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["usage"]["completion_tokens"] == 15
    first, error, done = chunks_of((await answer).text)
    assert first["choices"][0]["delta"]["content"] == "Some "
    assert error["error"]["code"] == "cancelled"
    assert done == "[DONE]"
    (end,) = await two.ends()
    assert (end.status, end.text) == (CompletionStatus.CANCELLED, "Some ")


async def test_an_answer_in_one_piece_that_is_cancelled_elsewhere_is_409(
    two: Two, worker: ScriptedWorker
) -> None:
    answer = two.ask()
    await two.cancel(await two.queued())
    response = await answer
    assert response.status_code == 409
    assert response.headers["x-should-retry"] == "false"


async def test_a_worker_that_takes_its_time_makes_it_202_and_cancelling(
    two: Two, worker: ScriptedWorker
) -> None:
    answer = two.ask(stream=True)
    job = await worker.take()
    await job.say("Some ")
    cancelled = await two.cancel(job.command.completion_id)
    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "cancelling"
    await job.end(CompletionStatus.CANCELLED)
    assert (await answer).status_code == 200


async def test_what_a_dead_worker_had_begun_is_left_to_its_successor(
    two: Two, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    answer = two.ask(stream=True)
    job = await worker.take(listen=False)
    await job.say("Some ")

    cancelled = await two.cancel(job.command.completion_id)

    assert cancelled.status_code == 202
    assert await two.ends() == []
    assert not await worker.nothing_waits()
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    subject = f"$KV.cancellations.{job.command.completion_id}"
    assert await provisioned.last(bucket, subject) is not None
    await job.end(CompletionStatus.CANCELLED)
    *_, error, _done = chunks_of((await answer).text)
    assert error["error"]["code"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (CompletionStatus.COMPLETED, "completed"),
        (CompletionStatus.FAILED, "failed"),
        (CompletionStatus.CANCELLED, "cancelled"),
    ],
)
async def test_too_late_is_said_plainly(
    two: Two,
    worker: ScriptedWorker,
    provisioned: JetStream,
    status: CompletionStatus,
    said: str,
) -> None:
    answer = two.ask()
    job = await worker.take()
    await job.say("all")
    await job.end(status, code="engine_error" if status is CompletionStatus.FAILED else None)
    await answer
    for _ in range(2):
        cancelled = await two.cancel(job.command.completion_id)
        assert cancelled.status_code == 200
        body = cancelled.json()
        assert (body["status"], body["alreadyEnded"]) == (said, True)
        assert ("error" in body) == (said == "failed")
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    subject = f"$KV.cancellations.{job.command.completion_id}"
    assert await provisioned.last(bucket, subject) is None


async def test_fifty_cancels_at_once_are_one_outcome(two: Two, worker: ScriptedWorker) -> None:
    answer = two.ask(stream=True)
    completion_id = await two.queued()
    gateways = [two.here, two.there] * 25
    responses = await asyncio.gather(
        *(gateway.http.post(f"{ADDRESS}/{completion_id}/cancel") for gateway in gateways)
    )
    assert {response.status_code for response in responses} == {200}
    assert {response.json()["status"] for response in responses} == {"cancelled"}
    assert (await answer).status_code == 409
    (end,) = await two.ends()
    assert end.status is CompletionStatus.CANCELLED


async def test_unknown_malformed_and_anothers_look_alike(two: Two, provisioned: JetStream) -> None:
    theirs = new_completion_id()
    event = CompletionAccepted(
        completion_id=theirs,
        user_id=UserId("somebody"),
        model="demo",
        accepted_at=utc_now(),
        overdue_after_s=900,
    )
    await provisioned.publish_once(subjects.accepted(theirs), event.to_bytes())
    bad = ["x", "chatcmpl-", "chatcmpl-*", "%3E", "chatcmpl-" + "A" * 32, "é" * 40, "a" * 5000]
    bodies = []
    for completion_id in [theirs, new_completion_id(), *bad]:
        response = await two.cancel(completion_id)
        assert response.status_code == 404, completion_id
        bodies.append(response.json())
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["error"]["code"] == "completion_not_found"
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    assert await provisioned.last(bucket, f"$KV.cancellations.{theirs}") is None


@pytest.mark.slow
async def test_cancels_at_random_moments_around_the_pull_have_one_outcome_each(
    two: Two, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    """The worker does what a real one does: control first, then tombstone, then the engine."""
    dice = random.Random(7)
    ran: set[str] = set()
    bucket = streams.bucket_stream(streams.CANCELLATIONS)

    async def work(delay: float) -> None:
        await asyncio.sleep(delay)
        while True:
            try:
                job = await worker.take(within=1)
            except TimeoutError:
                continue
            completion_id = job.command.completion_id
            ended = await provisioned.last(streams.EVENTS, subjects.completed(completion_id))
            if ended is not None:
                await job.message.ack()
                await job.send_end(CompletionCompleted.from_bytes(ended.data))
                continue
            key = f"$KV.cancellations.{completion_id}"
            if await provisioned.last(bucket, key) is None and not job.cancelled.is_set():
                ran.add(completion_id)
                await job.quiet(FrameKind.HEARTBEAT)
                await job.cancelled.wait()
                await job.say("some")
            await job.end_if_first(CompletionStatus.CANCELLED)

    async def one() -> tuple[httpx.Response, httpx.Response]:
        answer = two.ask(stream=True)
        completion_id = await two.queued()
        lead = dice.uniform(-0.012, 0.012)
        pulling = asyncio.create_task(work(max(lead, 0)))
        await asyncio.sleep(max(-lead, 0))
        cancelled = await two.cancel(completion_id)
        response = await asyncio.wait_for(answer, 5)
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        return cancelled, response

    rounds = 40
    for number in range(1, rounds + 1):
        cancelled, response = await one()
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert "cancelled" in response.text
        ends = await two.ends()
        assert len(ends) == number
        await provisioned.api("STREAM.PURGE.KV_cancellations")
        await provisioned.api(f"STREAM.PURGE.{streams.REQUESTS}")
    assert {end.status for end in await two.ends()} == {CompletionStatus.CANCELLED}
    # Both orders were met.
    assert 0 < len(ran) < rounds
