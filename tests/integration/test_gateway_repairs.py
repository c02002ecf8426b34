"""Streams through a real nats-server that lose, repeat and outlive things."""

import asyncio
import json

import httpx
import pytest
from nats.aio.client import Client

from shared.contracts.frames import FrameKind
from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.worker import Job, ScriptedWorker, chunks_of, text_of
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


def ask(gateway: RunningGateway, **more: object) -> asyncio.Task[httpx.Response]:
    """Send a completion request; the answer comes later."""
    return asyncio.create_task(gateway.http.post("/v1/chat/completions", json={**ASK, **more}))


async def test_frames_that_only_the_log_has_are_repaired_from_it(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("one ")
    await job.lose("two ", "three ", logged=True)
    await job.say("four ")
    await job.lose("five", logged=True)
    await job.end()

    assert text_of((await answer).text) == "one two three four five"


async def test_frames_that_the_broker_lost_come_from_the_completed_event_as_one_delta(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("one ")
    await job.lose("two ", logged=False)
    await job.say("three ", "four")
    await job.end()
    response = await answer

    contents = [c["choices"][0]["delta"].get("content") for c in chunks_of(response.text)[:-1]]
    assert contents == ["one ", "two three four", None]


async def test_a_snapshot_bridges_a_gap_before_the_end(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("one ")
    await job.lose("two ", logged=False)
    body = json.dumps({"text": "one two ", "thinking": "", "tool_calls": []}).encode()
    await job.quiet(FrameKind.SNAPSHOT, body)
    await job.say("three")
    await job.end()

    contents = [
        c["choices"][0]["delta"].get("content") for c in chunks_of((await answer).text)[:-2]
    ]
    assert contents == ["one ", "two ", "three"]


async def test_duplicates_and_frames_out_of_order_change_nothing(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    frames = [job.frame(text) for text in ("a", "b", "c", "d")]
    for index in (0, 0, 2, 1, 1, 3, 2):
        await job.send(frames[index])
    await job.end()

    assert text_of((await answer).text) == "abcd"


async def test_after_a_takeover_the_old_attempt_is_not_heard(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("a", "b")
    job.attempt = 2
    await job.quiet(FrameKind.TAKEOVER)
    await job.quiet(FrameKind.FROM)
    await job.send(job.frame("zombie", attempt=1, index=2))
    await job.say("c")
    await job.end()

    assert text_of((await answer).text) == "abc"


async def test_more_relayed_than_a_takeover_goes_on_from_is_an_error_not_a_splice(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("a", "b")
    job.attempt = 2
    await job.quiet(FrameKind.TAKEOVER)
    await job.quiet(FrameKind.FROM, first=1)
    response = await answer

    *_, error, done = chunks_of(response.text)
    assert error["error"]["code"] == "worker_lost"
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert done == "[DONE]"


async def test_an_end_that_nobody_heard_is_found_after_silence(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answers = [ask(gateway), ask(gateway, stream=False)]
    for _ in answers:
        job = await worker.take()
        await job.say("all of it")
        await job.record(job.completed())
    streamed, whole = await asyncio.gather(*answers)

    assert text_of(streamed.text) == "all of it"
    assert whole.json()["choices"][0]["message"]["content"] == "all of it"


async def test_a_broker_restart_in_mid_stream_loses_nothing(
    nats_server: NatsServer, gateway: RunningGateway, worker: ScriptedWorker, client: Client
) -> None:
    answer = ask(gateway)
    job = await worker.take()
    await job.say("before ")
    await client.flush()
    nats_server.kill()
    await nats_server.start()
    await eventually(lambda: client.is_connected)
    await job.say("after")
    await _end_when_possible(job)

    assert text_of((await answer).text) == "before after"


async def _end_when_possible(job: Job) -> None:
    async def ended() -> bool:
        try:
            await job.end()
        except Exception:  # noqa: BLE001 - the broker is just coming back
            return False
        return True

    await eventually(ended)
