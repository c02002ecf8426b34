"""A client that goes away, a queue that fills up, a deadline that passes: who ends it, and how."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import FrameKind
from shared.contracts.ids import CompletionId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, chunks_of, scripted_worker
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def worker(client: Client, provisioned: JetStream) -> AsyncGenerator[ScriptedWorker]:
    async with scripted_worker(client, provisioned, queue_limit=2) as scripted:
        yield scripted


class CutClient:
    """A raw connection that can be cut at any moment."""

    def __init__(self, gateway: RunningGateway, body: bytes) -> None:
        self._port = int(gateway.url.rsplit(":", 1)[1])
        self._body = body

    async def __aenter__(self) -> "CutClient":
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"content-length: {len(self._body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + self._body)
        return self

    def cut(self) -> None:
        self._writer.transport.abort()

    async def __aexit__(self, *_: object) -> None:
        self.cut()


def body(*, stream: bool) -> bytes:
    flag = b"true" if stream else b"false"
    return b'{"model":"demo","messages":[{"role":"user","content":"Hello"}],"stream":' + flag + b"}"


async def events(jetstream: JetStream) -> dict[str, CompletionCompleted]:
    replay = jetstream.replay(streams.EVENTS, "chat.events.completed.*")
    ends = [CompletionCompleted.from_bytes(m.data) async for m in replay]
    return {end.completion_id: end for end in ends}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after_first_token", [True, False])
async def test_a_client_that_goes_away_stops_the_engine_within_a_second(
    gateway: RunningGateway, worker: ScriptedWorker, stream: bool, after_first_token: bool
) -> None:
    async with CutClient(gateway, body(stream=stream)) as client:
        job = await worker.take()
        if after_first_token:
            await job.say("first")
            if stream:
                await client.reader.readuntil(b"first")
        client.cut()
        async with asyncio.timeout(1):
            await job.cancelled.wait()
    await job.end(CompletionStatus.CANCELLED)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_queued_request_of_a_client_that_goes_away_is_withdrawn_and_ended(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream, stream: bool
) -> None:
    async with CutClient(gateway, body(stream=stream)) as client:

        async def queued() -> bool:
            return not await worker.nothing_waits()

        await eventually(queued)
        client.cut()
        await eventually(worker.nothing_waits, within=1)

    async def ended() -> dict[str, CompletionCompleted]:
        return await events(provisioned)

    (end,) = (await eventually(ended)).values()
    assert end.status is CompletionStatus.CANCELLED
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    assert await provisioned.last(bucket, f"$KV.cancellations.{end.completion_id}") is not None


async def test_a_client_that_closes_after_the_end_cancels_nothing(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    async with CutClient(gateway, body(stream=True)) as client:
        job = await worker.take()
        await job.say("all")
        await job.end()
        await client.reader.readuntil(b"[DONE]")
    assert (await gateway.http.get("/healthz")).status_code == 200
    bucket = streams.bucket_stream(streams.CANCELLATIONS)
    subject = f"$KV.cancellations.{job.command.completion_id}"
    assert await provisioned.last(bucket, subject) is None
    assert not job.cancelled.is_set()


async def test_a_full_queue_is_429_and_the_rejected_one_leaves_an_end(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    waiting = [
        asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK)) for _ in range(2)
    ]

    async def full() -> bool:
        info = await provisioned.api(f"STREAM.INFO.{streams.REQUESTS}")
        return bool(info["state"]["messages"] == 2)

    await eventually(full)
    # The lane of a user with two unfinished ones has room of its own.
    waiting += [
        asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK)) for _ in range(2)
    ]

    async def both_full() -> bool:
        info = await provisioned.api(f"STREAM.INFO.{streams.REQUESTS}")
        return bool(info["state"]["messages"] == 4)

    await eventually(both_full)
    response = await gateway.http.post("/v1/chat/completions", json=ASK)

    assert response.status_code == 429
    assert response.headers["retry-after"]
    assert response.json()["error"]["code"] == "queue_full"
    assert response.json()["error"]["type"] == "rate_limit_error"
    rejected = (await events(provisioned))[response.headers["x-completion-id"]]
    assert rejected.status is CompletionStatus.REJECTED
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await eventually(worker.nothing_waits)


async def test_waiting_too_long_is_504_and_nobody_runs_it_later(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    settings = quick_settings(nats_server.url, waiting_deadline=timedelta(milliseconds=300))
    async with RunningGateway(settings) as gateway:
        response = await gateway.http.post("/v1/chat/completions", json=ASK)

    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    assert "x-should-retry" not in response.headers
    assert await worker.nothing_waits()
    (end,) = (await events(provisioned)).values()
    assert end.status is CompletionStatus.EXPIRED


async def test_a_request_that_a_worker_has_taken_does_not_expire(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, waiting_deadline=timedelta(milliseconds=300))
    async with RunningGateway(settings) as gateway:
        answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
        job = await worker.take()
        await job.quiet(FrameKind.HEARTBEAT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answer), 0.6)
        await job.say("late")
        await job.end()
        assert (await answer).status_code == 200


async def test_cancelled_by_somebody_else_is_an_error_in_the_stream(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json={**ASK, "stream": True})
    )
    job = await worker.take()
    await job.say("Some")
    await job.end(CompletionStatus.CANCELLED)
    *_, error, done = chunks_of((await answer).text)
    assert error["error"]["code"] == "cancelled"
    assert done == "[DONE]"


async def test_every_accepted_request_says_who_it_is_and_when_it_is_overdue(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
    job = await worker.take()
    stored = await provisioned.last(
        streams.EVENTS, subjects.accepted(CompletionId(job.command.completion_id))
    )
    assert stored is not None
    accepted = CompletionAccepted.from_bytes(stored.data)
    assert accepted.user_id == "local"
    assert accepted.turn is None
    assert accepted.overdue_after_s == 900
    assert job.command.generating_deadline == timedelta(minutes=10)
    await job.end()
    await answer


async def test_a_stop_lets_running_streams_finish_and_refuses_new_ones(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = asyncio.create_task(
        gateway.http.post("/v1/chat/completions", json={**ASK, "stream": True})
    )
    job = await worker.take()
    await job.say("still ")
    gateway.drain.begin()

    refused = await gateway.http.post("/v1/chat/completions", json=ASK)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_shutdown"
    assert (await gateway.http.get("/readyz")).status_code == 503
    await job.say("here")
    await job.end()
    response = await answer
    assert chunks_of(response.text)[-1] == "[DONE]"
    assert "error" not in response.text
    await gateway.stopped()


async def test_a_stream_that_outlives_the_stop_ends_with_an_error_and_is_cancelled(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, drain_timeout=timedelta(milliseconds=200))
    async with RunningGateway(settings) as gateway:
        answer: asyncio.Task[httpx.Response] = asyncio.create_task(
            gateway.http.post("/v1/chat/completions", json={**ASK, "stream": True})
        )
        job = await worker.take()
        await job.say("Some")
        gateway.drain.begin()
        *_, error, done = chunks_of((await answer).text)
        assert error["error"]["code"] == "server_shutdown"
        assert done == "[DONE]"
        async with asyncio.timeout(2):
            await job.cancelled.wait()
        await job.end(CompletionStatus.CANCELLED)
        await gateway.stopped()
