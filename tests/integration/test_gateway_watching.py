"""Who watches an answer, and what happens when nobody does any more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.settings import Settings as GatewaySettings
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted
from shared.contracts.workers import Watched
from shared.messaging.jetstream import JetStream
from shared.messaging.subscriptions import ProvenSubscription
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.history import FakeHistory, history_service
from tests.fakes.api.viewer import ASK, RESUMABLE, asking, following
from tests.fakes.api.worker import Job, ScriptedWorker
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

GRACE = timedelta(milliseconds=600)


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    # Nobody who must leave at once may get away with waiting for the end of the drain.
    return quick_settings(
        nats_server.url,
        resume_grace=GRACE,
        drain_timeout=timedelta(seconds=60),
        silence=timedelta(seconds=10),
    )


@pytest.fixture
async def other(nats_server: NatsServer, worker: ScriptedWorker) -> AsyncGenerator[RunningGateway]:
    async with RunningGateway(quick_settings(nats_server.url, resume_grace=GRACE)) as running:
        yield running


@asynccontextmanager
async def heard(client: Client, job: Job) -> AsyncGenerator[list[Watched]]:
    """What gateways say of this completion."""
    words: list[Watched] = []

    async def receive(message: Msg) -> None:
        words.append(Watched.from_bytes(message.data))

    listening = ProvenSubscription(client, subjects.watched(job.command.completion_id), receive)
    await listening.open()
    yield words
    await listening.close()


async def cancelled(job: Job, *, within: float = 3.0) -> None:
    async with asyncio.timeout(within):
        await job.cancelled.wait()


async def not_cancelled(job: Job, *, within: float = 1.5) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job.cancelled.wait(), within)


async def test_a_request_says_how_long_it_may_go_unwatched_and_a_fact_how_it_was_asked(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    async with asking(gateway, stream_options={"include_usage": True}) as viewer:
        job = await worker.take()
        assert job.command.watch_timeout == GRACE + timedelta(seconds=15)
        stored = await provisioned.last(
            streams.EVENTS, subjects.accepted(job.command.completion_id)
        )
        assert stored is not None
        accepted = CompletionAccepted.from_bytes(stored.data)
        assert accepted.reply_subject == job.command.reply_subject
        assert (accepted.lane, accepted.include_usage, accepted.resumable) == ("a", True, True)
        await job.end()
        await viewer.ends()
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
    job = await worker.take()
    assert job.command.watch_timeout == timedelta(seconds=15)
    await job.end()
    await answer


@pytest.mark.parametrize("stream", [True, False])
async def test_a_gateway_says_again_and_again_that_it_has_a_viewer(
    gateway: RunningGateway, worker: ScriptedWorker, client: Client, stream: bool
) -> None:
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json={**ASK, "stream": stream})
    )
    job = await worker.take()
    async with heard(client, job) as words:
        await eventually(lambda: len(words) >= 3)
        assert {word.grace for word in words} == {None}
        assert len({word.gateway for word in words}) == 1
        await job.end()
        await answer
        words.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_any(words), 0.6)


async def _any(words: list[Watched]) -> None:
    await eventually(lambda: words)


async def test_left_alone_it_goes_on_for_a_grace_and_is_then_stopped(
    gateway: RunningGateway, worker: ScriptedWorker, client: Client
) -> None:
    async with asking(gateway) as viewer:
        job = await worker.take()
        await job.say("first")
        await viewer.sees("first")
    async with heard(client, job) as words:
        await not_cancelled(job, within=0.3)
        await eventually(lambda: any(word.grace for word in words))
        await cancelled(job)
    await job.end(CompletionStatus.CANCELLED)


async def test_an_answer_that_ends_within_the_grace_is_not_stopped(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    async with asking(gateway) as viewer:
        job = await worker.take()
        await job.say("first ")
        await viewer.sees("first")
    await job.say("second")
    await job.end()
    await not_cancelled(job, within=1.0)
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    subject = f"$KV.cancellations.{job.command.completion_id}"
    assert await provisioned.last(bucket, subject) is None
    async with following(gateway, job.command.completion_id, 0) as again:
        assert [event.index for event in await again.ends()] == [1, 2, None]


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_viewer_anywhere_keeps_it_going_until_that_one_has_left_too(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, elsewhere: bool
) -> None:
    async with asking(gateway) as viewer:
        job = await worker.take()
        await job.say("first ")
        await viewer.sees("first")
    second = other if elsewhere else gateway
    async with following(second, job.command.completion_id) as again:
        await again.sees("first")
        await not_cancelled(job, within=1.5)
        await job.say("second ")
        await again.sees("second")
    await not_cancelled(job, within=0.3)
    await cancelled(job)
    await job.end(CompletionStatus.CANCELLED)


async def test_gateways_in_their_grace_do_not_take_each_other_for_viewers(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        async with following(other, job.command.completion_id) as second:
            await job.say("first ")
            await first.sees("first")
            await second.sees("first")
    await not_cancelled(job, within=0.3)
    await cancelled(job)
    await job.end(CompletionStatus.CANCELLED)


async def test_a_viewer_who_comes_and_goes_begins_the_grace_anew(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, resume_grace=timedelta(seconds=1))
    async with RunningGateway(settings) as gateway:
        async with asking(gateway):
            job = await worker.take()
            await job.say("first ")
        await not_cancelled(job, within=0.6)
        async with following(gateway, job.command.completion_id) as again:
            await again.sees("first")
        await not_cancelled(job, within=0.7)
        await cancelled(job)
        await job.end(CompletionStatus.CANCELLED)


async def test_a_second_viewer_who_leaves_does_not_stop_the_first(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
    job = await worker.take()
    await job.say("first ")
    async with following(other, job.command.completion_id) as viewer:
        await viewer.sees("first")
    await not_cancelled(job, within=1.5)
    await job.end()
    assert (await answer).status_code == 200


async def test_a_stop_sends_resumable_streams_elsewhere_and_they_miss_nothing(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        completion_id = job.command.completion_id
        await job.say("one ", "two ")
        async with following(gateway, completion_id) as second:
            await first.sees("two ")
            await second.sees("two ")
            gateway.drain.begin()
            for viewer in (first, second):
                async with asyncio.timeout(2):
                    *content, error, done = await viewer.ends()
                assert [event.index for event in content] == [0, 1]
                assert error.json()["error"]["code"] == "server_shutdown"
                assert (error.id, error.retry, done.data) == (None, "500", "[DONE]")
    async with following(other, completion_id, 1) as viewer:
        await gateway.stopped()
        await job.say("three")
        await job.end()
        assert [event.index for event in await viewer.ends()] == [2, 3, None]
    assert not job.cancelled.is_set()


async def test_a_session_whose_gateway_stops_is_kept_by_the_one_that_goes_on(
    nats_server: NatsServer,
    gateway: RunningGateway,
    other: RunningGateway,
    worker: ScriptedWorker,
    client: Client,
    provisioned: JetStream,
) -> None:
    fake = FakeHistory()
    async with history_service(client, fake):
        session = (await gateway.http.post("/api/chat/sessions/", json={})).json()["id"]
        bucket, key = streams.bucket_stream(streams.TURNS), f"$KV.turns.{session}"
        async with asking(gateway, sessionId=session) as first:
            job = await worker.take()
            await job.say("one ")
            await first.sees("one ")
            gateway.drain.begin()
            await first.ends()
        await gateway.stopped()
        assert not job.cancelled.is_set()
        # As after the time of a lease that nobody renews.
        await provisioned.api(f"STREAM.PURGE.{bucket}", {"filter": key})
        async with following(other, job.command.completion_id, 0) as viewer:

            async def held() -> bool:
                return await provisioned.last(bucket, key) is not None

            await eventually(held)
            again = {**ASK, "sessionId": session, "stream": False}
            busy = await other.http.post("/v1/chat/completions", json=again)
            assert busy.status_code == 409
            await job.say("two")
            await job.end()
            await viewer.ends()
            answer = asyncio.create_task(other.http.post("/v1/chat/completions", json=again))
            second = await worker.take()
            await second.end()
            assert (await answer).status_code == 200
    assert fake.placed_after[-1] == job.command.completion_id


async def test_a_whole_answer_that_can_be_resumed_is_read_later(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    body = {**ASK, "stream": False}
    path = "/v1/chat/completions"
    answer = asyncio.create_task(gateway.http.post(path, json=body, headers=RESUMABLE))
    job = await worker.take()
    await job.say("some ")
    answer.cancel()

    async def standing(status: str) -> dict[str, object] | None:
        found = (await other.http.get(f"{path}/{job.command.completion_id}/")).json()
        return found if found["status"] == status else None

    running = await eventually(lambda: standing("running"))
    assert running is not None
    assert (running["usage"], running["error"]) == (None, None)
    await job.say("more")
    await job.end()
    found = await eventually(lambda: standing("completed"))
    assert found is not None
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "some more", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "finishReason": "stop",
        }
    ]
    assert found["usage"]
    assert not job.cancelled.is_set()


async def test_a_completion_is_queued_until_a_worker_is_heard(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as viewer:
        await viewer.begins()
        path = f"/v1/chat/completions/{viewer.headers['x-completion-id']}"
        queued = (await other.http.get(path)).json()
        assert queued["status"] == "queued"
        assert queued["choices"][0]["message"]["content"] == ""
        assert queued["choices"][0]["finish_reason"] is None
        job = await worker.take()
        await job.say("text")
        await job.end(CompletionStatus.FAILED, code="engine_error")
        await viewer.ends()
        failed = (await other.http.get(path)).json()
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "engine_error"
    assert failed["choices"][0]["message"]["content"] == "text"
