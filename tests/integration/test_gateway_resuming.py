"""A stream goes on at any gateway, from any event, while it runs and after."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from nats.aio.client import Client
from openai import AsyncOpenAI

from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import UserId, new_completion_id
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.viewer import ASK, RESUMABLE, Viewer, asking, following
from tests.fakes.api.worker import Job, ScriptedWorker, sse_event
from tests.support.events import Event, parse_events
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

WORDS = [f"word{number} " for number in range(12)]


async def say_together(job: Job, *texts: str) -> None:
    """Send several events in one frame."""
    first = len(job.texts)
    job.texts += texts
    body = b"".join(sse_event(job.command, text) for text in texts)
    length = len("".join(job.texts))
    count = len(texts)
    frame = Frame(FrameKind.TOKENS, job.attempt, first, count, first + count, length, 0, body)
    await job.send(frame)


async def finished(gateway: RunningGateway, worker: ScriptedWorker) -> tuple[str, bytes]:
    """A completion that has run to its end, and the whole of its stream."""
    async with asking(gateway, stream_options={"include_usage": True}) as viewer:
        job = await worker.take()
        await job.say(*WORDS[:4])
        await say_together(job, *WORDS[4:9])
        await job.say(*WORDS[9:])
        await job.end()
        await viewer.ends()
        return job.command.completion_id, viewer.got


def pings_of(viewer: Viewer) -> Callable[[], bool]:
    return lambda: viewer.got.count(b": ping\n") > 3


def plain(events: list[Event]) -> list[str]:
    return [event.data for event in events]


async def test_every_event_of_a_resumable_stream_says_its_id(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    completion_id, body = await finished(gateway, worker)

    *numbered, usage, done = parse_events(body)
    assert [event.id for event in numbered] == [f"{completion_id}:{n}" for n in range(13)]
    assert numbered[-1].json()["choices"][0]["finish_reason"] == "stop"
    assert usage.id is None
    assert usage.json()["usage"]["total_tokens"] == 25
    assert done == Event(None, "[DONE]")


async def test_headers_of_a_resumable_stream_come_as_soon_as_it_is_queued(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as viewer:
        await viewer.begins()
        assert viewer.headers["x-completion-id"].startswith("chatcmpl-")
        assert not await worker.nothing_waits()
        job = await worker.take()
        await job.end()
        await viewer.ends()


async def test_a_stream_cut_anywhere_goes_on_to_the_same_bytes(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    completion_id, body = await finished(gateway, worker)
    whole = plain(parse_events(body))
    numbers = random.Random(20)
    cuts = [0, len(body) - 1, *(numbers.randrange(len(body)) for _ in range(30))]
    for cut in cuts:
        seen = parse_events(body[:cut])
        indices = [event.index for event in seen if event.index is not None]
        last = indices[-1] if indices else -1
        async with following(other, completion_id, last) as viewer:
            rest = await viewer.ends()
        if last == len(WORDS):
            assert viewer.status == 204
        else:
            known = [event for event in seen if event.id is not None]
            assert plain(known) + plain(rest) == whole
            assert body.endswith(viewer.got)


async def test_viewers_that_come_while_it_runs_all_get_every_event_once(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        viewers: list[tuple[Viewer, int]] = []
        for number, word in enumerate(WORDS):
            await job.say(word)
            after = number - 3 if number % 2 else -1
            viewer = following(
                (gateway, other)[number % 2], job.command.completion_id, max(after, -1)
            )
            await viewer.__aenter__()
            viewers.append((viewer, max(after, -1)))
        await say_together(job, "and ", "so ", "on")
        await job.end()
        whole = await first.ends()
        for viewer, after in viewers:
            assert await viewer.ends() == whole[after + 1 :]


@pytest.mark.parametrize("after", [11, 12, 13, 4_000_000_000])
async def test_who_has_all_of_a_finished_one_gets_204_and_who_lacks_its_end_gets_that(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, after: int
) -> None:
    completion_id, body = await finished(gateway, worker)
    path = f"/v1/chat/completions/{completion_id}"
    for name in ("starting_after", "startingAfter"):
        response = await other.http.get(path, params={"stream": "true", name: after})
        if after == 11:
            assert response.status_code == 200
            assert parse_events(response.content) == parse_events(body)[-3:]
        else:
            assert (response.status_code, response.content) == (204, b"")


async def test_an_event_from_the_future_is_refused_unless_it_is_under_way(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        await job.say("one ", "two ")
        await first.sees("two ")
        path = f"/v1/chat/completions/{job.command.completion_id}"
        early = asyncio.create_task(
            other.http.get(path, params={"stream": "true", "starting_after": 2})
        )
        refused = await other.http.get(path, params={"stream": "true", "starting_after": 7})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "starting_after"
        assert (await early).status_code == 400

        async with following(other, job.command.completion_id, 2) as waiting:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting.begins(), 0.3)
            await job.say("three ", "four")
            await job.end()
            assert [event.index for event in await waiting.ends()] == [3, 4, None]


BAD_CURSORS = [
    ({"stream": "true", "starting_after": "x"}, None),
    ({"stream": "true", "starting_after": "-2"}, None),
    ({"stream": "true", "startingAfter": "1.5"}, None),
    ({"stream": "true", "starting_after": ""}, None),
    ({"stream": "true", "starting_after": "\u0661"}, None),
    ({"stream": "true", "starting_after": "1" * 11}, None),
    ({"stream": "perhaps"}, None),
    ({}, "7"),
    ({}, "chatcmpl-00000000000000000000000000000000:7"),
    ({}, "{id}"),
    ({}, "{id}:"),
    ({}, "{id}:-2"),
    ({}, "{id}:7:7"),
    ({}, "{id}:7 "),
    ({}, "x" * 10_000),
]


async def test_a_malformed_cursor_is_400_and_says_which(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    completion_id, _ = await finished(gateway, worker)
    for query, cursor in BAD_CURSORS:
        headers = {}
        if cursor is not None:
            # A blank at the end of a header's value is no part of it.
            headers["Last-Event-ID"] = cursor.replace("{id}", completion_id).replace(" ", "x")
        response = await gateway.http.get(
            f"/v1/chat/completions/{completion_id}", params=query, headers=headers
        )
        assert response.status_code == 400, (query, cursor, response.text)
        error = response.json()["error"]
        assert error["code"] == "invalid_request"
        assert error["param"] == next((n for n in query if n != "stream"), None) or error["param"]


async def test_anothers_an_unknown_and_a_malformed_id_look_alike(
    gateway: RunningGateway, provisioned: JetStream
) -> None:
    theirs = new_completion_id()
    event = CompletionAccepted(
        completion_id=theirs,
        user_id=UserId("somebody"),
        model="demo",
        accepted_at=utc_now(),
        overdue_after_s=900,
    )
    await provisioned.publish_once(subjects.accepted(theirs), event.to_bytes())
    answers = {
        (response.status_code, response.text)
        for completion_id in (theirs, new_completion_id(), "chatcmpl-*", "nonsense", "a.b", "%3E")
        for query in ("", "?stream=true", "?stream=true&starting_after=3")
        for slash in ("", "/")
        for response in [
            await gateway.http.get(f"/v1/chat/completions/{completion_id}{slash}{query}")
        ]
    }
    ((status, text),) = answers
    assert status == 404
    assert '"completion_not_found"' in text


async def test_frames_that_are_gone_are_410_but_the_whole_answer_is_still_told(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    completion_id, body = await finished(gateway, worker)
    await provisioned.api(f"STREAM.PURGE.{streams.CHUNKS}")
    path = f"/v1/chat/completions/{completion_id}"

    gone = await other.http.get(path, params={"stream": "true", "starting_after": 3})
    assert gone.status_code == 410
    assert gone.json()["error"]["code"] == "stream_gone"
    assert f"GET {path}" in gone.json()["error"]["message"]

    for cursor in (None, -1):
        async with following(other, completion_id, cursor) as viewer:
            one, *rest = await viewer.ends()
        assert one.json()["choices"][0]["delta"]["content"] == "".join(WORDS)
        assert one.index == 11
        assert rest == parse_events(body)[-3:]
    assert (await other.http.get(path)).json()["choices"][0]["message"]["content"] == "".join(WORDS)


@pytest.mark.parametrize("status", [CompletionStatus.FAILED, CompletionStatus.CANCELLED])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_bad_end_is_told_after_what_there_was(
    gateway: RunningGateway,
    other: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    status: CompletionStatus,
    kept: bool,
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        await job.say("Some", "thing")
        code = "engine_error" if status is CompletionStatus.FAILED else None
        await job.end(status, code=code)
        await first.ends()
    completion_id = job.command.completion_id
    if not kept:
        await provisioned.api(f"STREAM.PURGE.{streams.CHUNKS}")
    async with following(other, completion_id) as viewer:
        *content, error, done = await viewer.ends()
    said = "".join(event.json()["choices"][0]["delta"]["content"] for event in content)
    assert said == "Something"
    assert error.json()["error"]["code"] == (code or "cancelled")
    assert (error.index, done.data) == (2, "[DONE]")
    async with following(other, completion_id, 2) as viewer:
        await viewer.ends()
        assert viewer.status == 204


async def test_a_viewer_survives_a_restart_of_the_broker(
    nats_server: NatsServer,
    gateway: RunningGateway,
    worker: ScriptedWorker,
    client: Client,
) -> None:
    # Too patient to find out by the silence that it has missed something.
    patient = quick_settings(nats_server.url, silence=timedelta(seconds=60))
    async with RunningGateway(patient) as other, asking(gateway) as first:
        job = await worker.take()
        await job.say("before ")
        async with following(other, job.command.completion_id) as viewer:
            await viewer.sees("before")
            await job.lose("meanwhile ", logged=True)
            await client.flush()
            nats_server.stop()
            await nats_server.start()
            await eventually(lambda: client.is_connected)
            # Nothing else tells of it but the gateway's own look after it has reconnected.
            await viewer.sees("meanwhile")
            await job.say("after")

            async def ended() -> bool:
                try:
                    await job.end()
                except Exception:  # noqa: BLE001 - the broker is just coming back
                    return False
                return True

            await eventually(ended)
            assert plain(await viewer.ends()) == plain(await first.ends())


async def test_openais_own_client_reads_plain_and_resumable_streams_with_pings(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, ping_interval=timedelta(milliseconds=30))
    async with (
        RunningGateway(settings) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as openai,
    ):
        for headers in ({}, RESUMABLE):
            asked = asyncio.create_task(
                openai.chat.completions.create(
                    model="demo",
                    messages=[{"role": "user", "content": "Hello"}],
                    stream=True,
                    extra_headers=headers,
                )
            )
            job = await worker.take()
            await job.say("one ")
            stream = await asked
            texts: list[str] = []
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content or "")
                if len(texts) == 1:
                    # Several pings go by.
                    async with following(gateway, job.command.completion_id) as witness:
                        await eventually(pings_of(witness))
                        assert b": ping\n\n" not in witness.got
                    await job.say("two")
                    await job.end()
            assert texts == ["one ", "two", ""]


async def test_a_viewer_that_takes_nothing_disturbs_nobody(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    async with asking(gateway) as first:
        job = await worker.take()
        port = int(other.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        path = f"/v1/chat/completions/{job.command.completion_id}?stream=true"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        async with following(other, job.command.completion_id) as viewer:
            for _ in range(250):
                await job.say("x" * 20_000)
            await job.end()
            assert len(await viewer.ends()) == 252
            assert len(await first.ends()) == 252
        # Whoever comes to take it in the end still gets all of it.
        async with asyncio.timeout(10):
            tail = b""
            while b"data: [DONE]" not in tail:
                tail = tail[-20:] + await reader.read(2**16)
        writer.close()
        await writer.wait_closed()


async def test_what_is_asked_for_by_the_plain_address_is_never_numbered(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=ASK))
    job = await worker.take()
    await job.say("one ", "two")
    await job.end()
    body = (await answer).content
    assert b"id: " not in body
    async with following(gateway, job.command.completion_id) as viewer:
        assert plain(await viewer.ends()) == plain(parse_events(body))
