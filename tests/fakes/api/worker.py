"""A worker that does what a test says, on the contracts alone."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from deploy.provisioning.provisioner import Provisioner
from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.chat import CompletionStatus, Failure, ToolCall, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.streams import Capacity
from shared.contracts.workers import (
    ControlReply,
    ControlRequest,
    EngineState,
    ModelCard,
    WorkerAnnouncement,
    WorkerProbe,
)
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream
from shared.messaging.subscriptions import ProvenSubscription

MODEL = "demo:latest"
CARD = ModelCard(
    name=MODEL,
    family="llama",
    format="GGUF",
    parameter_size="3.2B",
    quantization_level="Q4_0",
    context_length=131072,
    capabilities=["tools"],
    modified_at=1_700_000_000,
)


def announcement(worker_id: str = "w1", *, ok: bool = True) -> WorkerAnnouncement:
    """What a worker with the demo model says of itself."""
    engine = EngineState(url="http://engine", ok=ok, version="1", latency_ms=1.0)
    return WorkerAnnouncement(worker_id=worker_id, slots=2, free=1, models=[CARD], engine=engine)


def sse_event(command: RunCompletion, text: str) -> bytes:
    """One finished event, as a worker makes it."""
    chunk = {
        "id": command.completion_id,
        "object": "chat.completion.chunk",
        "created": int(command.created_at.timestamp()),
        "model": command.display_model,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class Job:
    """One request in the hands of the worker; each text is one event."""

    def __init__(self, message: Msg, client: Client, jetstream: JetStream) -> None:
        self.message = message
        self.command = RunCompletion.from_bytes(message.data)
        self.subject = self.command.reply_subject
        self._client = client
        self._jetstream = jetstream
        self.cancelled = asyncio.Event()
        self._control: ProvenSubscription | None = None
        self.texts: list[str] = []
        self.attempt = 1

    async def listen(self) -> None:
        """Answer on the control subject from now on."""
        self._control = ProvenSubscription(
            self._client, subjects.control(self.command.completion_id), self._on_control
        )
        await self._control.open()

    async def _on_control(self, message: Msg) -> None:
        if ControlRequest.from_bytes(message.data).op == "cancel":
            self.cancelled.set()
        reply = ControlReply(ok=True, completion_id=self.command.completion_id)
        await self._client.publish(message.reply, reply.to_bytes())

    def frame(self, text: str, *, attempt: int | None = None, index: int | None = None) -> Frame:
        """A frame of one event; the next one unless ``index`` says otherwise."""
        if index is None:
            index = len(self.texts)
            self.texts.append(text)
        length = len("".join(self.texts[: index + 1]))
        return Frame(
            FrameKind.TOKENS,
            attempt or self.attempt,
            index,
            1,
            index + 1,
            length,
            0,
            sse_event(self.command, text),
        )

    async def send(self, frame: Frame) -> None:
        """Publish a frame where it belongs."""
        await self._client.publish(self.subject, frame.to_bytes())

    async def say(self, *texts: str) -> None:
        """Send a frame for each text."""
        for text in texts:
            await self.send(self.frame(text))

    async def lose(self, *texts: str, logged: bool) -> None:
        """Make frames that no reader hears, and that the log has only if ``logged``.

        The stream hears a publish to a subject of its own whoever it is for: the frames are
        stored under the reply subject while the gateway's interest in it is suspended by a
        header that marks them as probes.
        """
        for text in texts:
            frame = self.frame(text)
            if logged:
                await self._client.publish(
                    self.subject, frame.to_bytes(), headers={"Parley-Probe": "1"}
                )

    async def quiet(self, kind: FrameKind, body: bytes = b"", first: int | None = None) -> None:
        """Send a frame without events."""
        index = len(self.texts) if first is None else first
        length = len("".join(self.texts))
        await self.send(Frame(kind, self.attempt, index, 0, 0, length, 0, body))

    def completed(
        self,
        status: CompletionStatus = CompletionStatus.COMPLETED,
        *,
        code: str | None = None,
        tool_calls: list[ToolCall] | None = None,
    ) -> CompletionCompleted:
        """The end, from what has been said."""
        good = status is CompletionStatus.COMPLETED
        return CompletionCompleted(
            completion_id=self.command.completion_id,
            user_id=self.command.user_id,
            key_id=self.command.key_id,
            model=self.command.display_model,
            status=status,
            created_at=self.command.created_at,
            completed_at=utc_now(),
            text="".join(self.texts),
            tool_calls=tool_calls or [],
            finish_reason="stop" if good else None,
            usage=Usage(prompt_tokens=10, completion_tokens=15, total_tokens=25),
            attempts=self.attempt,
            events=len(self.texts),
            error=Failure(code=code, message=f"it was {code}") if code else None,
            place=self.command.place,
        )

    async def record(self, event: CompletionCompleted) -> None:
        """Publish the event and acknowledge the request, without an end frame."""
        subject = subjects.completed(event.completion_id)
        await self._jetstream.publish_once(subject, event.to_bytes())
        await self.message.ack()
        if self._control is not None:
            await self._control.close()

    async def end(
        self,
        status: CompletionStatus = CompletionStatus.COMPLETED,
        *,
        code: str | None = None,
        tool_calls: list[ToolCall] | None = None,
    ) -> None:
        """``completed``, the end frame, the acknowledgement."""
        event = self.completed(status, code=code, tool_calls=tool_calls)
        await self.record(event)
        await self.send_end(event)

    async def stopped(self, within: float) -> None:
        """Wait until somebody has it stopped, and end it as an honest worker does."""
        await asyncio.wait_for(self.cancelled.wait(), within)
        await self.end(CompletionStatus.CANCELLED)

    async def send_end(self, event: CompletionCompleted) -> None:
        """The end frame of an event that stands."""
        await self.send(end_frame(event))
        await self._client.flush()

    async def end_if_first(self, status: CompletionStatus) -> None:
        """The same as ``end``, where another one may have been first."""
        event = self.completed(status)
        try:
            await self.record(event)
        except AlreadyPublished:
            stored = await self._jetstream.last(
                streams.EVENTS, subjects.completed(event.completion_id)
            )
            assert stored is not None
            event = CompletionCompleted.from_bytes(stored.data)
            await self.message.ack()
        await self.send_end(event)


class ScriptedWorker:
    """Serves one model as far as the test lets it."""

    def __init__(
        self, client: Client, jetstream: JetStream, subscription: JetStreamContext.PullSubscription
    ) -> None:
        self._client = client
        self._jetstream = jetstream
        self._pulls = subscription

    async def take(self, *, listen: bool = True, within: float = 5.0) -> Job:
        """Pull the next request."""
        (message,) = await self._pulls.fetch(1, timeout=within)
        job = Job(message, self._client, self._jetstream)
        if listen:
            await job.listen()
        return job

    async def nothing_waits(self) -> bool:
        """Whether the queue is empty."""
        info = await self._jetstream.api(f"STREAM.INFO.{streams.REQUESTS}")
        return bool(info["state"]["messages"] == 0)


async def announce(jetstream: JetStream, worker_id: str = "w1") -> None:
    """Put the catalog entry once."""
    bucket = Bucket(jetstream, streams.CATALOG)
    await bucket.put(f"worker.{worker_id}", announcement(worker_id).to_bytes(), ttl=12)
    await bucket.put(f"model.{subjects.model_slug(MODEL)}", MODEL.encode(), ttl=24 * 3600)


@asynccontextmanager
async def scripted_worker(
    client: Client, jetstream: JetStream, *, queue_limit: int = 256, serves: bool = True
) -> AsyncGenerator[ScriptedWorker]:
    """A worker for the demo model on a provisioned broker."""
    capacity = Capacity(queue_limit=queue_limit, ack_wait=timedelta(seconds=30))
    provisioner = Provisioner(jetstream, capacity)
    await provisioner.provision()
    await provisioner.provision_model(MODEL)
    await announce(jetstream)

    async def answer(message: Msg) -> None:
        if message.reply:
            probe = WorkerProbe(worker_id="w1", slots=2, free=1)
            await client.publish(message.reply, probe.to_bytes())

    serving = ProvenSubscription(client, subjects.workers(MODEL), answer)
    if serves:
        await serving.open()
    pulls = await client.jetstream().pull_subscribe_bind(
        streams.request_consumer(MODEL, "a"), stream=streams.REQUESTS
    )
    try:
        yield ScriptedWorker(client, jetstream, pulls)
    finally:
        await serving.close()
        if not client.is_closed:
            try:
                await pulls.unsubscribe()
            except nats.errors.Error:
                return


def chunks_of(body: str) -> list[Any]:
    """The parsed ``data:`` lines of a stream; ``[DONE]`` stays text."""
    found: list[Any] = []
    for line in body.splitlines():
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def text_of(body: str) -> str:
    """All content of a stream, joined."""
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks_of(body)
        if isinstance(chunk, dict)
        for choice in chunk.get("choices", [])
    )
