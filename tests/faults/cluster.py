"""All of Parley in processes of their own, each of which may break."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from nats.aio.client import Client

from shared.contracts.identities import Identity
from shared.messaging.jetstream import JetStream
from tests.faults.process import SAID, Process
from tests.faults.reader import Reader
from tests.support.limits import NO_LIMITS_ENVIRONMENT
from tests.support.mongo_server import MongoServer
from tests.support.nats_keys import connect, seed_file
from tests.support.nats_server import NatsServer

_PYTHON = (sys.executable, "-P", "-m")
_IDENTITIES = {
    "provision": Identity.PROVISIONER,
    "history": Identity.HISTORY,
    "worker": Identity.WORKER,
    "gateway": Identity.GATEWAY,
}


class Cluster:
    """``async with Cluster(directory) as cluster: await cluster.worker()``.

    The broker, the database, provisioning, history, one engine and one gateway run from the start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ack_wait: str = "2s",
        broker: NatsServer | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        port = free_port()
        self.monitor = f"http://127.0.0.1:{port}"
        """The broker's own, of a broker that was not brought."""
        self.nats = broker or NatsServer(directory / "nats", monitor=f"127.0.0.1:{port}")
        self.mongo = MongoServer(directory / "mongo")
        self.processes: list[Process] = []
        self.http = httpx.AsyncClient(trust_env=False, timeout=30)
        self._directory = directory
        self._environment = {
            **NO_LIMITS_ENVIRONMENT,
            "WORKER_ACK_WAIT": ack_wait,
            "WORKER_CHECK_INTERVAL": "2s",
            "HISTORY_SWEEP_SLACK": "1s",
            "HISTORY_SWEEP_INTERVAL": "1s",
            **(environment or {}),
        }
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        await self.nats.start()
        self.mongo.start()
        self._client = await connect(self.nats.url, max_reconnect_attempts=-1)
        self.jetstream = JetStream(self._client)
        self.provisioner = await self.process(
            "provision", "deploy.provisioning", arguments=("--watch",)
        )
        self.history = await self.process("history", "tests.faults.fault_build.history")
        self.engine = await self.start_engine()
        self.gateway = await self.start_gateway()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.thaw()
            process.kill()
        await self.http.aclose()
        if self._client is not None and self._client.is_connected:
            await self._client.close()
        self.nats.kill()
        self.mongo.thaw()
        self.mongo.kill()
        self.nats.permit_nothing_more()

    @property
    def client(self) -> Client:
        """A connection of the test's own."""
        assert self._client is not None
        return self._client

    async def process(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str] | None = None,
        *,
        arguments: tuple[str, ...] = (),
        url: str = "",
        ready: str = SAID,
    ) -> Process:
        """Start a module of Python's with the cluster's environment; gives it once it is ready."""
        facts = {"NATS_URL": self.nats.url, "MONGODB_URL": self.mongo.url}
        if name in _IDENTITIES:
            facts["NATS_NKEY_SEED_FILE"] = str(seed_file(_IDENTITIES[name]))
        number = sum(other.name.startswith(name) for other in self.processes)
        process = Process(
            f"{name}-{number}",
            (*_PYTHON, module, *arguments),
            {"PYTHONPATH": ".", **facts, **self._environment, **(environment or {})},
            self._directory / f"{name}-{number}.log",
            url=url,
            ready=ready,
        )
        self.processes.append(process)
        await process.start()
        return process

    async def start_engine(self, *, parallel: int = 16) -> Process:
        """Another demo engine."""
        port = free_port()
        return await self.process(
            "engine", "deploy.local.demo_engine",
            arguments=("--port", str(port), "--parallel", str(parallel), "--first-token-ms", "20"),
            url=f"http://127.0.0.1:{port}",
            ready="demo engine on http",
        )  # fmt: skip

    async def start_gateway(self, **environment: str) -> Process:
        """Another gateway, on a port that it keeps."""
        port = free_port()
        return await self.process(
            "gateway", "tests.faults.fault_build.gateway",
            {"API_PORT": str(port), **environment},
            url=f"http://127.0.0.1:{port}",
        )  # fmt: skip

    async def worker(
        self, point: str = "", *, action: str = "kill", engine: Process | None = None, **more: str
    ) -> Process:
        """Another worker, which breaks at ``point`` of the fault build."""
        url = (engine or self.engine).url
        environment = {"OLLAMA_BASE_URL": url, "FAULT_POINT": point, "FAULT_ACTION": action}
        return await self.process("worker", "tests.faults.fault_build.worker", environment | more)

    def workers(self) -> list[Process]:
        """Those that run."""
        return [each for each in self.processes if each.name.startswith("worker") and each.alive]

    def end_workers(self) -> None:
        """Leave no worker, so that the next case has its own."""
        for worker in self.workers():
            worker.thaw()
            worker.kill()

    def ask(self, text: str, *, gateway: Process | None = None, **body: object) -> Reader:
        """Begin a streamed completion as one more client."""
        return Reader((gateway or self.gateway).url, text, body)

    async def session(self) -> str:
        """A new session's id."""
        reply = await self.http.post(f"{self.gateway.url}/api/chat/sessions/", json={})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    async def gate(self, *, closed: bool) -> None:
        """Hold the engine before its next token, or let it go on."""
        reply = await self.http.post(f"{self.engine.url}/demo/gate", json={"closed": closed})
        assert reply.status_code == 200, reply.text


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
