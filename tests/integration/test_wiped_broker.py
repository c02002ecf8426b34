"""A broker that comes back with an empty store: what it lost is ended, what runs goes on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import FrameKind
from shared.contracts.ids import CompletionId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.worker import ScriptedWorker, text_of
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually
from tests.support.wiping import wipe

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}


async def test_a_request_that_the_broker_lost_ends_with_worker_lost_and_may_be_repeated(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    nats_server: NatsServer,
    provisioned: JetStream,
    tmp_path: Path,
) -> None:
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))

    async def queued() -> bool:
        return not await worker.nothing_waits()

    await eventually(queued)
    await wipe(nats_server, provisioned)

    response = await asyncio.wait_for(answer, 10)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "worker_lost"
    assert "x-should-retry" not in response.headers
    completion_id = CompletionId(response.headers["x-completion-id"])
    stored = await provisioned.last(streams.EVENTS, subjects.completed(completion_id))
    assert stored is not None
    assert CompletionCompleted.from_bytes(stored.data).status is CompletionStatus.FAILED


async def test_an_answer_whose_worker_lives_goes_on_over_the_wiped_broker(
    gateway: RunningGateway,
    worker: ScriptedWorker,
    nats_server: NatsServer,
    provisioned: JetStream,
    client: Client,
    tmp_path: Path,
) -> None:
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
    job = await worker.take()
    await job.say("before ")
    await wipe(nats_server, provisioned)

    async def heard() -> bool:
        ready = (await gateway.http.get("/readyz")).status_code == 200
        await job.quiet(FrameKind.HEARTBEAT)
        return ready and client.is_connected

    await eventually(heard)

    async def ended_while_it_only_lives() -> bool:
        await job.quiet(FrameKind.HEARTBEAT)
        return answer.done()

    # For longer than a silence.
    with pytest.raises(AssertionError):
        await eventually(ended_while_it_only_lives, within=1, every=0.1)
    await job.say("after")
    event = job.completed()
    await provisioned.publish_once(subjects.completed(event.completion_id), event.to_bytes())
    await job.send_end(event)
    assert text_of((await asyncio.wait_for(answer, 5)).text) == "before after"
