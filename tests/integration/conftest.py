"""A provisioned nats-server and a connected client for each test."""

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.api.settings import Settings as GatewaySettings
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, scripted_worker
from tests.fakes.history.running import history_settings, running_history
from tests.support.mongo_server import MongoServer
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncGenerator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncGenerator[Client]:
    connected = await connect(nats_server.url, max_reconnect_attempts=-1)
    yield connected
    # A test may have killed the broker; nats-py 2.16 then writes to a transport that is gone,
    # which is an OSError and, on Python 3.13, a TypeError.
    with suppress(OSError, TypeError):
        await connected.close()


@pytest.fixture
def jetstream(client: Client) -> JetStream:
    return JetStream(client)


@pytest.fixture
async def provisioned(nats_server: NatsServer, jetstream: JetStream) -> JetStream:
    await nats_server.provision(Capacity())
    return jetstream


@pytest.fixture
async def worker(client: Client, provisioned: JetStream) -> AsyncGenerator[ScriptedWorker]:
    async with scripted_worker(client, provisioned) as scripted:
        yield scripted


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    """What ``gateway`` and ``other`` run with; a module may have its own."""
    return quick_settings(nats_server.url)


@pytest.fixture
async def gateway(
    gateway_settings: GatewaySettings, worker: ScriptedWorker
) -> AsyncGenerator[RunningGateway]:
    async with RunningGateway(gateway_settings) as running:
        yield running


@pytest.fixture
async def other(
    gateway_settings: GatewaySettings, worker: ScriptedWorker
) -> AsyncGenerator[RunningGateway]:
    async with RunningGateway(gateway_settings) as running:
        yield running


@pytest.fixture(scope="session")
def shared_mongo(tmp_path_factory: pytest.TempPathFactory) -> Generator[MongoServer]:
    with MongoServer(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture
def mongo(shared_mongo: MongoServer) -> MongoServer:
    """An empty database. A test may kill the server; the next one finds it running."""
    shared_mongo.make_anew()
    return shared_mongo


@pytest.fixture
async def history(
    provisioned: JetStream, client: Client, nats_server: NatsServer, mongo: MongoServer
) -> AsyncGenerator[None]:
    async with running_history(history_settings(nats_server.url, mongo.url), client):
        yield


@pytest.fixture
def service(history: None, provisioned: JetStream) -> JetStream:
    """A history service that runs, by the broker that it stores the events of."""
    return provisioned
