"""Real workers on a real broker, with the demo engine: what the integration suites play with."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local.demo_engine.chat import Defaults
from deploy.local.demo_engine.http_server import HttpServer
from deploy.local.demo_engine.routes import build_handler
from deploy.provisioning.provisioner import Provisioner
from services.inference_worker.ability import PROBE_SEED
from services.inference_worker.sse import deltas
from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind, parse_frame
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId, new_completion_id
from shared.contracts.streams import Capacity
from shared.contracts.workers import (
    ControlReply,
    ControlRequest,
    Provisioned,
    ProvisionModel,
    WorkerAnnouncement,
)
from shared.messaging.asking import ask_workers
from shared.messaging.jetstream import JetStream
from shared.observability.logging import READY
from tests.fakes.inference_worker.requests import request
from tests.support.nats_keys import seed_file
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

DEMO = "demo:latest"
ROOT = Path(__file__).parents[3]


class WorkerProcess:
    """One ``parley worker`` in a process of its own; its log lines are JSON."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.inference_worker"],
                env=environment,
                stderr=output,
                cwd=ROOT,
            )

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        lines = (line for line in self._log.read_text().splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, lines) if line["event"] == event]

    async def ready(self) -> None:
        """Return once it has said that it is ready."""
        await eventually(lambda: self.process.poll() is not None or self.logged(READY))
        assert self.process.poll() is None, self._log.read_text()

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP: it stands still, and what is sent to it waits in its sockets."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, within: float = 10.0) -> int:
        """Its exit code, once it has ended."""
        await eventually(lambda: self.process.poll() is not None, within=within)
        return self.process.returncode


class World:
    """A broker, an engine, any number of workers, and the eyes of a gateway named ``gw``."""

    def __init__(self, server: NatsServer, client: Client, directory: Path) -> None:
        self.client = client
        self.jetstream = JetStream(client)
        self._server = server
        self._directory = directory
        self._engine: HttpServer | None = None
        self._engine_port = 0
        self._more_engines: list[HttpServer] = []
        self._http = httpx.AsyncClient(trust_env=False)
        self._workers: list[WorkerProcess] = []
        self.frames: dict[CompletionId, list[Frame]] = defaultdict(list)

    async def start_engine(self, *, parallel: int = 4) -> None:
        """Start the demo engine, on the same port as before."""
        self._engine = HttpServer(build_handler(Defaults(40.0, 0.0), parallel, 512))
        self._engine_port = await self._engine.start("127.0.0.1", self._engine_port)

    async def gate(self, *, closed: bool) -> None:
        """Hold the engine before its next token, or let it go on."""
        url = f"http://127.0.0.1:{self._engine_port}/demo/gate"
        (await self._http.post(url, json={"closed": closed})).raise_for_status()

    async def shelve(self, *, absent: Sequence[str] = (), renewed: Sequence[str] = ()) -> None:
        """Change which models the engine has."""
        url = f"http://127.0.0.1:{self._engine_port}/demo/models"
        body = {"absent": list(absent), "renewed": list(renewed)}
        (await self._http.post(url, json=body)).raise_for_status()

    def stop_engine(self) -> None:
        """Stop the demo engine."""
        if self._engine is not None:
            self._engine.stop()

    async def serve_provisioning(self, ack_wait: float) -> None:
        """Make all streams, and queues for who asks."""
        capacity = Capacity(ack_wait=timedelta(seconds=ack_wait))
        provisioner = Provisioner(self.jetstream, capacity)
        await provisioner.provision()

        async def provision(message: Msg) -> None:
            model = ProvisionModel.from_bytes(message.data).model
            await provisioner.provision_model(model)
            reply = Provisioned(ok=True, ack_wait=await provisioner.ack_wait(model))
            await message.respond(reply.to_bytes())

        async def see(message: Msg) -> None:
            if not message.headers:
                completion_id = CompletionId(message.subject.rsplit(".", 1)[-1])
                self.frames[completion_id].append(parse_frame(message.data))

        await self.client.subscribe(subjects.PROVISION_MODEL, cb=provision)
        await self.client.subscribe(subjects.gateway_inbox("gw"), cb=see)
        await self.client.flush()

    async def worker(self, **environment: str) -> WorkerProcess:
        """Start a worker; returns once it is ready."""
        process = WorkerProcess(
            self._directory / f"worker-{len(self._workers)}.log",
            {
                **os.environ,  # noqa: TID251 - a child needs its path
                "NATS_URL": self._server.url,
                "NATS_NKEY_SEED_FILE": str(seed_file(Identity.WORKER)),
                "OLLAMA_BASE_URL": f"http://127.0.0.1:{self._engine_port}",
                "WORKER_CHECK_INTERVAL": "1s",
                **environment,
            },
        )
        self._workers.append(process)
        await process.ready()
        return process

    async def ask(
        self,
        text: str,
        *,
        model: str = DEMO,
        lane: str = "a",
        completion_id: CompletionId | None = None,
        **fields: object,
    ) -> CompletionId:
        """Queue a request as a gateway does."""
        completion_id = completion_id or new_completion_id()
        run = request(
            text, model=model, completion_id=completion_id, created_at=utc_now(), **fields
        )
        await self.jetstream.publish(subjects.requests(model, lane), run.to_bytes())
        return completion_id

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """The event that says how it ended."""
        stored = await self.jetstream.last(streams.EVENTS, subjects.completed(completion_id))
        return CompletionCompleted.from_bytes(stored.data) if stored else None

    async def end_of(
        self, completion_id: CompletionId, within: float = 10.0
    ) -> CompletionCompleted:
        """Wait for its ``END`` frame; gives the whole event."""
        await eventually(lambda: "END" in self.kinds(completion_id), within=within)
        end = await self.completed(completion_id)
        assert end is not None, "END was sent before completed was kept"
        return end

    def kinds(self, completion_id: CompletionId) -> list[str]:
        """The kinds of its frames without heartbeats, in order."""
        return [
            frame.kind.name
            for frame in self.frames[completion_id]
            if frame.kind is not FrameKind.HEARTBEAT
        ]

    def text(self, completion_id: CompletionId) -> str:
        """What a reader has got."""
        return "".join(
            delta.get("content", "")
            for frame in self.frames[completion_id]
            if frame.kind is FrameKind.TOKENS
            for delta in deltas(frame.body)
        )

    async def control(self, completion_id: CompletionId, op: str) -> ControlReply:
        """Ask whoever runs it."""
        asked = ControlRequest.model_validate({"op": op})
        subject = subjects.control(completion_id)
        reply = await ask_workers(self.client, subject, asked.to_bytes(), timeout=1)
        return ControlReply.from_bytes(reply.data)

    async def queued(self) -> int:
        """Requests that nobody has acknowledged."""
        info = await self.jetstream.api(f"STREAM.INFO.{streams.REQUESTS}")
        return int(info["state"]["messages"])

    async def catalog(self) -> list[WorkerAnnouncement]:
        """The workers that a gateway sees."""
        replay = self.jetstream.replay(
            streams.bucket_stream(streams.CATALOG), f"$KV.{streams.CATALOG}.worker.>"
        )
        return [WorkerAnnouncement.from_bytes(entry.data) async for entry in replay if entry.data]

    async def another_engine(self, *, parallel: int = 4) -> str:
        """Start one more, for a worker of its own; gives its address."""
        engine = HttpServer(build_handler(Defaults(40.0, 0.0), parallel, 512))
        self._more_engines.append(engine)
        return f"http://127.0.0.1:{await engine.start('127.0.0.1', 0)}"

    async def engine_log(self, url: str | None = None) -> list[dict[str, Any]]:
        """What the engine has seen of chats, without what workers ask for themselves."""
        reply = await self._http.get(f"{url or f'http://127.0.0.1:{self._engine_port}'}/demo/log")
        log: list[dict[str, Any]] = reply.json()
        return [entry for entry in log if entry["options"].get("seed") != PROBE_SEED]

    async def close(self) -> None:
        """Leave nothing running."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()
        await self._http.aclose()
        self.stop_engine()
        for engine in self._more_engines:
            engine.stop()


@asynccontextmanager
async def a_world(
    server: NatsServer,
    client: Client,
    directory: Path,
    *,
    ack_wait: float = 1.0,
    parallel: int = 4,
) -> AsyncGenerator[World]:
    """A provisioned broker and a running engine, without a worker."""
    world = World(server, client, directory)
    try:
        await world.serve_provisioning(ack_wait)
        await world.start_engine(parallel=parallel)
        yield world
    finally:
        await world.close()
