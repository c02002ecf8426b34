"""The history service while its database, its broker or itself is killed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
from nats.aio.client import Client

from deploy.provisioning.provisioner import Provisioner
from shared.contracts import streams
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import stateless
from tests.fakes.history.running import (
    HistoryProcess,
    Stored,
    all_stored,
    dead_letters,
    history_settings,
    publish,
    running_history,
)
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually
from tests.support.wiping import wipe

pytestmark = pytest.mark.integration

StartHistory = Callable[[], HistoryProcess]


@pytest.fixture
async def mongo(tmp_path: Path) -> AsyncGenerator[MongoServer]:
    with MongoServer(tmp_path / "mongo") as server:
        yield server


@pytest.fixture
async def stored(mongo: MongoServer) -> AsyncGenerator[Stored]:
    view = Stored(mongo.url)
    yield view
    view.close()


@pytest.fixture
def start_history(
    nats_server: NatsServer, mongo: MongoServer, tmp_path: Path
) -> Generator[StartHistory]:
    started: list[HistoryProcess] = []

    def start() -> HistoryProcess:
        log = tmp_path / f"history-{len(started)}.log"
        process = HistoryProcess(nats_server.url, mongo.url, log)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


async def _consumed(jetstream: JetStream) -> None:
    async def done() -> bool:
        return await all_stored(jetstream)

    await eventually(done, within=30)


async def _redeliver_after(jetstream: JetStream, seconds: int) -> None:
    """What is in hand at a kill comes again after the consumer's ``ack_wait``: make it short."""
    config = {**streams.history_consumer_config(), "ack_wait": seconds * 10**9}
    await jetstream.api(
        f"CONSUMER.DURABLE.CREATE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}",
        {"stream_name": streams.EVENTS, "config": config},
    )


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_database_that_comes_back_gets_everything_and_nothing_is_buried(
    provisioned: JetStream,
    client: Client,
    nats_server: NatsServer,
    mongo: MongoServer,
    stored: Stored,
    fault: str,
) -> None:
    harm, mend = (mongo.kill, mongo.start) if fault == "killed" else (mongo.freeze, mongo.thaw)
    events = [stateless(n) for n in range(1, 41)]
    settings = history_settings(nats_server.url, mongo.url)

    async with running_history(settings, client):
        await publish(provisioned, *events[:10])
        await _consumed(provisioned)
        harm()
        await publish(provisioned, *events[10:])

        async def in_hand() -> bool:
            info = await provisioned.api(
                f"CONSUMER.INFO.{streams.EVENTS}.{streams.HISTORY_CONSUMER}"
            )
            # As many as there are loops: a dead database does not draw all events into memory.
            return int(info["num_ack_pending"]) == settings.history.consumers

        await eventually(in_hand)
        mend()
        await _consumed(provisioned)

    assert await stored.count("usage") == 40
    assert await dead_letters(provisioned) == 0


@pytest.mark.slow
async def test_a_service_killed_in_the_middle_loses_and_doubles_nothing(
    provisioned: JetStream, start_history: StartHistory, stored: Stored
) -> None:
    await _redeliver_after(provisioned, 1)
    await publish(provisioned, *(stateless(n) for n in range(1, 401)))

    victims = [start_history(), start_history()]
    for victim, share in zip(victims, (50, 150), strict=True):

        async def progressed(enough: int = share) -> bool:
            return await stored.count("usage") >= enough

        await eventually(progressed, within=20, every=0.01)
        victim.kill()
    assert not await all_stored(provisioned)
    start_history()
    await _consumed(provisioned)

    assert await stored.count("usage") == 400
    assert await dead_letters(provisioned) == 0


async def test_a_broker_killed_and_restarted_is_consumed_from_again(
    provisioned: JetStream,
    client: Client,
    nats_server: NatsServer,
    mongo: MongoServer,
    stored: Stored,
) -> None:
    # The broker may die with acknowledgements that it has not seen.
    await _redeliver_after(provisioned, 1)
    async with running_history(history_settings(nats_server.url, mongo.url), client):
        await publish(provisioned, *(stateless(n) for n in range(1, 11)))
        nats_server.kill()
        await nats_server.start()
        await eventually(lambda: client.is_connected)
        await publish(provisioned, *(stateless(n) for n in range(11, 21)))
        await _consumed(provisioned)

    assert await stored.count("usage") == 20


@pytest.mark.slow
async def test_a_broker_that_lost_its_store_is_consumed_from_once_it_is_provisioned(
    provisioned: JetStream,
    client: Client,
    nats_server: NatsServer,
    mongo: MongoServer,
    stored: Stored,
    tmp_path: Path,
) -> None:
    async with running_history(history_settings(nats_server.url, mongo.url), client):
        await publish(provisioned, stateless(1))
        await _consumed(provisioned)
        await wipe(nats_server, provisioned)
        await publish(provisioned, stateless(2))
        await _consumed(provisioned)

    assert await stored.count("usage") == 2


async def test_it_is_ready_without_a_database_and_ends_at_once_on_sigterm(
    provisioned: JetStream, mongo: MongoServer, start_history: StartHistory
) -> None:
    mongo.kill()
    await publish(provisioned, stateless())
    process = start_history()

    await eventually(process.ready)

    async with asyncio.timeout(5):
        assert await asyncio.to_thread(process.stop) == 0


@pytest.mark.slow
async def test_it_waits_for_a_broker_and_for_its_consumer_and_can_be_stopped_meanwhile(
    nats_server: NatsServer, jetstream: JetStream, start_history: StartHistory
) -> None:
    waiting = start_history()
    await Provisioner(jetstream, Capacity()).provision()
    await eventually(waiting.ready)
    assert await asyncio.to_thread(waiting.stop) == 0

    nats_server.kill()
    stopped = start_history()
    await eventually(stopped.started)
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(stopped.stop) == 0
