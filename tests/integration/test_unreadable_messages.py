"""What nats-py cannot read costs nobody the connection: it ended its reading, and told nobody."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contracts import subjects
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId, new_completion_id
from shared.messaging.jetstream import JetStream
from tests.fakes.history.running import all_stored
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.raw_worker import publish_raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

PLACE = subjects.chunks("gw", new_completion_id())
PLAIN = b"NATS/1.0\r\n\r\n"


@pytest.fixture
async def traitor(nats_server: NatsServer) -> AsyncGenerator[Client]:
    """A worker that somebody has broken into."""
    client = await connect(nats_server.url, Identity.WORKER)
    yield client
    await client.close()


@pytest.fixture
async def heard(nats_server: NatsServer) -> AsyncGenerator[asyncio.Queue[Msg]]:
    """What a gateway hears of answers."""
    client = await connect(nats_server.url, Identity.GATEWAY, reconnect_time_wait=0.05)
    said: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe(subjects.chunks("gw", CompletionId("*")), cb=said.put)
    await client.flush()
    yield said
    await client.close()


async def until_heard(traitor: Client, heard: asyncio.Queue[Msg], word: bytes) -> None:
    """Say it again and again, as nobody keeps what is said while a connection is away."""
    async with asyncio.timeout(5):
        while True:
            await traitor.publish(PLACE, word)
            try:
                async with asyncio.timeout(0.2):
                    while (await heard.get()).data != word:
                        pass
            except TimeoutError:
                continue
            return


@pytest.mark.parametrize(
    ("subject", "reply", "head"),
    [
        (PLACE.encode(), b"", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
        (PLACE.encode(), b"", b"NATS/1.0 404 \xff\r\n\r\n"),
        (b"chat.chunks.gw.\xff", b"", PLAIN),
        (PLACE.encode(), b"\xff", PLAIN),
        (PLACE.encode(), b"", b"NATS/1.0"),
    ],
    ids=["status", "description", "subject", "reply", "half a head"],
)
async def test_a_gateway_hears_what_comes_after_it(
    provisioned: JetStream,
    nats_server: NatsServer,
    traitor: Client,
    heard: asyncio.Queue[Msg],
    subject: bytes,
    reply: bytes,
    head: bytes,
) -> None:
    await until_heard(traitor, heard, b"before")
    await publish_raw(nats_server, subject, head, b"unreadable", reply=reply)
    await until_heard(traitor, heard, b"after")


async def test_an_event_whose_subject_is_unreadable_is_dropped_for_good(
    history: None, provisioned: JetStream, nats_server: NatsServer
) -> None:
    await publish_raw(nats_server, b"chat.events.completed.\xff", PLAIN, b"unreadable")
    await eventually(lambda: all_stored(provisioned))
