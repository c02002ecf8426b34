"""One key, one generation: retries through any gateway get the answer that was begun."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.api.adapters.nats_keys import NatsKeys
from services.api.completions.idempotency import Idempotency, digest_of
from services.api.ports.keys import KeyEntry
from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.ids import UserId, new_completion_id
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.ports import FakeClock, FakeJournal, FakeTombstones
from tests.fakes.api.worker import ScriptedWorker, chunks_of, text_of
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
ADDRESS = "/v1/chat/completions"


class Two:
    """Two gateways on one broker."""

    def __init__(self, here: RunningGateway, there: RunningGateway, jetstream: JetStream) -> None:
        self.here, self.there = here, there
        self._jetstream = jetstream

    def ask(self, gateway: RunningGateway, **fields: object) -> asyncio.Task[httpx.Response]:
        headers = {"Idempotency-Key": "k1"}
        post = gateway.http.post(ADDRESS, json={**ASK, **fields}, headers=headers)
        return asyncio.create_task(post)

    async def count(self, subject: str) -> int:
        return len([m async for m in self._jetstream.replay(streams.EVENTS, subject)])

    async def accepted(self) -> int:
        return await self.count("chat.events.accepted.*")


@pytest.fixture
async def two(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> AsyncGenerator[Two]:
    settings = quick_settings(nats_server.url)
    async with RunningGateway(settings) as here, RunningGateway(settings) as there:
        yield Two(here, there, provisioned)


@pytest.mark.parametrize("stream", [True, False])
async def test_ten_with_one_key_are_one_generation_and_ten_equal_answers(
    two: Two, worker: ScriptedWorker, stream: bool
) -> None:
    asking = [two.ask(gateway, stream=stream) for gateway in [two.here, two.there] * 5]
    job = await worker.take()
    await job.say("Hello ", "you")
    await job.end()

    responses = await asyncio.gather(*asking)
    assert {response.status_code for response in responses} == {200}
    ids = {response.headers["x-completion-id"] for response in responses}
    assert ids == {job.command.completion_id}
    replayed = [response.headers.get("idempotency-replayed") for response in responses]
    assert (replayed.count("true"), replayed.count(None)) == (9, 1)
    if stream:
        # Who comes late may get in one delta what others got in two.
        assert {text_of(response.text) for response in responses} == {"Hello you"}
        assert len({str(chunks_of(response.text)[-2:]) for response in responses}) == 1
        assert chunks_of(responses[0].text)[-1] == "[DONE]"
    else:
        assert len({response.text for response in responses}) == 1
        assert responses[0].json()["choices"][0]["message"]["content"] == "Hello you"
    assert await two.accepted() == 1
    assert await worker.nothing_waits()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_finished_one_is_answered_again_without_any_worker(
    two: Two, worker: ScriptedWorker, stream: bool
) -> None:
    first = two.ask(two.here, stream=stream)
    job = await worker.take()
    await job.say("Once")
    await job.end()
    again = await two.ask(two.there, stream=stream)
    assert again.headers["idempotency-replayed"] == "true"
    if stream:
        assert text_of(again.text) == "Once"
        assert chunks_of(again.text)[-2:] == chunks_of((await first).text)[-2:]
    else:
        assert again.text == (await first).text


async def test_a_finished_stream_whose_frames_are_gone_is_one_delta(
    two: Two, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    first = two.ask(two.here, stream=True)
    job = await worker.take()
    await job.say("One", " two")
    await job.end()
    await first
    await provisioned.api(f"STREAM.PURGE.{streams.CHUNKS}")
    again = await two.ask(two.there, stream=True)
    delta, finish, done = chunks_of(again.text)
    assert delta["choices"][0]["delta"] == {"role": "assistant", "content": "One two"}
    assert finish["usage"]["completion_tokens"] == 15
    assert done == "[DONE]"


async def test_a_client_that_lost_its_connection_comes_again_and_gets_the_rest(
    two: Two, worker: ScriptedWorker
) -> None:
    first = two.ask(two.here, stream=True)
    job = await worker.take()
    await job.say("Some ")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = two.ask(two.there, stream=True)
    await job.say("more")
    await job.end()
    assert text_of((await again).text) == "Some more"
    assert not job.cancelled.is_set()


async def test_one_of_two_readers_leaves_and_the_other_reads_on(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    settings = quick_settings(nats_server.url, resume_grace=timedelta(seconds=0.3))
    async with RunningGateway(settings) as gateway:
        two = Two(gateway, gateway, provisioned)
        first = two.ask(gateway, stream=True)
        job = await worker.take()
        await job.say("Some ")
        body, headers = {**ASK, "stream": True}, {"Idempotency-Key": "k1"}
        async with gateway.http.stream("POST", ADDRESS, json=body, headers=headers) as second:
            parts = second.aiter_text()
            got = await anext(parts)
            first.cancel()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(job.cancelled.wait(), 1)
            await job.say("more")
            await job.end()
            got += "".join([part async for part in parts])
        assert text_of(got) == "Some more"


async def test_the_last_reader_that_leaves_stops_it_after_the_grace(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    settings = quick_settings(nats_server.url, resume_grace=timedelta(seconds=0.3))
    async with RunningGateway(settings) as gateway:
        two = Two(gateway, gateway, provisioned)
        first = two.ask(gateway, stream=True)
        job = await worker.take()
        await job.say("Some ")
        first.cancel()
        async with asyncio.timeout(3):
            await job.cancelled.wait()
        await job.end(CompletionStatus.CANCELLED)
        # Nobody asked for that: who comes again wants the answer.
        again = two.ask(gateway, stream=True)
        anew = await worker.take()
        assert anew.command.completion_id != job.command.completion_id
        await anew.say("All")
        await anew.end()
        assert text_of((await again).text) == "All"


async def test_another_body_is_422(two: Two, worker: ScriptedWorker) -> None:
    first = two.ask(two.here)
    job = await worker.take()
    other = await two.ask(two.there, temperature=1)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    await job.say("x")
    await job.end()
    assert (await first).status_code == 200


async def test_a_failed_one_runs_anew(two: Two, worker: ScriptedWorker) -> None:
    first = two.ask(two.here)
    job = await worker.take()
    await job.end(CompletionStatus.FAILED, code="engine_error")
    assert (await first).status_code == 502
    again = two.ask(two.there)
    anew = await worker.take()
    await anew.say("Now")
    await anew.end()
    response = await again
    assert response.json()["choices"][0]["message"]["content"] == "Now"
    assert "idempotency-replayed" not in response.headers


async def test_a_refused_one_frees_its_key(two: Two, worker: ScriptedWorker) -> None:
    refused = await two.ask(two.here, model="nothing")
    assert refused.status_code == 404
    again = two.ask(two.there)
    job = await worker.take()
    await job.say("x")
    await job.end()
    assert (await again).status_code == 200


async def test_a_gateway_that_died_before_it_accepted_is_stood_in_for(
    two: Two, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    # What that gateway left behind: the entry of a key, and nothing else.
    keys = NatsKeys(provisioned, ttl=60)
    left = new_completion_id()
    request = two.here.http.build_request("POST", ADDRESS, json=ASK)
    entry = KeyEntry(completion_id=left, body=digest_of(request.content), created_at=utc_now())
    settling = Idempotency(keys, FakeTombstones(), FakeJournal(), FakeClock())
    await settling.claim(UserId("local"), "k1", entry)

    asking = [two.ask(gateway) for gateway in (two.here, two.there, two.there)]
    job = await worker.take(within=5)
    assert job.command.completion_id == left
    await job.say("Saved")
    await job.end()
    for response in await asyncio.gather(*asking):
        assert response.json()["choices"][0]["message"]["content"] == "Saved"
    assert await two.accepted() == 1


async def test_bad_keys_are_400(two: Two) -> None:
    for key in [b"", b"x" * 256, "é".encode(), b"a\tb"]:
        headers = {b"Idempotency-Key": key}
        response = await two.here.http.post(ADDRESS, json=ASK, headers=headers)
        assert response.status_code == 400, key
        assert response.json()["error"]["param"] == "Idempotency-Key"
        cancel = await two.here.http.post(f"{ADDRESS}/cancel", headers=headers)
        assert cancel.status_code == 400, key
    assert (await two.here.http.post(f"{ADDRESS}/cancel")).status_code == 400
    assert await two.accepted() == 0


async def test_a_cancel_by_key_needs_no_id_and_is_final(
    two: Two, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    asking = two.ask(two.here, stream=True)

    async def queued() -> bool:
        return not await worker.nothing_waits()

    await eventually(queued)
    key = {"Idempotency-Key": "k1"}
    cancelled = await two.there.http.post(f"{ADDRESS}/cancel/", headers=key)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["id"] == (await asking).headers["x-completion-id"]
    assert (await asking).status_code == 409
    again = await two.ask(two.there, stream=True)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "cancelled")
    unknown = await two.there.http.post(f"{ADDRESS}/cancel", headers={"Idempotency-Key": "k2"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "completion_not_found"
    stored = await provisioned.last(streams.EVENTS, subjects.completed(cancelled.json()["id"]))
    assert stored is not None
