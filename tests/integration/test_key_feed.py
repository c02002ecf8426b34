"""Either way of hearing about keys is enough: as they are said, and as they are stored."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from nats.aio.client import Client

from services.api.access.departures import Departures
from services.api.access.key_ring import KeyRing
from services.api.access.refusals import KeysNotLoaded, NotAuthenticated
from services.api.adapters.nats_key_ring import NatsKeyFeed, connection_of
from services.history.adapters.nats_key_copies import NatsKeyCopies
from services.history.adapters.nats_traces import NatsPurgeWords
from shared.contracts import streams
from shared.contracts.api_keys import COMPLETE, KeyCopy, digest_of
from shared.contracts.ids import UserId
from shared.contracts.jetstream_api import bucket_key, stream_purge
from shared.contracts.user_purge import WORD, user_digest
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream
from shared.tasks import end_tasks
from tests.fakes.api.ports import FakeClock
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ANN = UserId("ann")
SECRET = f"pk-{'Ab3-_' * 8}xyz"
COPY = KeyCopy(id="k1", user_id=UserId("alice"))
REVOKED = COPY.model_copy(update={"revoked": True})


@pytest.fixture
def copies(provisioned: JetStream) -> NatsKeyCopies:
    return NatsKeyCopies(provisioned)


@pytest.fixture
def ring(client: Client) -> KeyRing:
    return KeyRing(FakeClock(), lambda: connection_of(client))


@pytest.fixture
def departures() -> Departures:
    return Departures()


@pytest.fixture(params=["said", "stored"])
async def feed(
    request: pytest.FixtureRequest,
    client: Client,
    provisioned: JetStream,
    ring: KeyRing,
    departures: Departures,
) -> AsyncGenerator[NatsKeyFeed]:
    feed = NatsKeyFeed(client, provisioned, ring, departures)
    if request.param == "said":
        await feed.open()
        yield feed
        await feed.close()
        return
    watching = asyncio.create_task(feed.watch())
    yield feed
    await end_tasks([watching])


async def test_keys_come_and_go(feed: NatsKeyFeed, ring: KeyRing, copies: NatsKeyCopies) -> None:
    await copies.say_complete()
    await feed.refresh()

    def known() -> bool:
        try:
            return ring.find(SECRET).user_id == "alice"
        except NotAuthenticated:
            return False

    assert not known()
    await copies.create(digest_of(SECRET), COPY)
    await eventually(known, within=1)
    await copies.put(digest_of(SECRET), REVOKED)
    await eventually(lambda: not known(), within=1)


async def test_a_bucket_that_history_has_not_filled_lets_nobody_in(
    feed: NatsKeyFeed, ring: KeyRing, copies: NatsKeyCopies
) -> None:
    await copies.create(digest_of(SECRET), COPY)
    await feed.refresh()
    with pytest.raises(KeysNotLoaded):
        ring.find(SECRET)
    await copies.say_complete()
    await feed.refresh()
    assert ring.find(SECRET).user_id == "alice"


async def test_what_is_no_word_says_nothing(
    feed: NatsKeyFeed,
    ring: KeyRing,
    copies: NatsKeyCopies,
    departures: Departures,
    provisioned: JetStream,
) -> None:
    """A worker can have what it pulls delivered on any subject."""
    bucket = Bucket(provisioned, streams.KEYS)
    await NatsPurgeWords(provisioned).under_way(user_digest(ANN))
    await bucket.put(COMPLETE, b'{"kind": "a request"}')
    await feed.refresh()
    assert not ring.loaded
    assert not await copies.is_complete(), "so history says it again"

    await copies.say_complete()
    await feed.refresh()
    await bucket.put(f"{WORD}{user_digest(ANN)}", b'{"kind": "a request"}')
    await copies.put(digest_of(SECRET), COPY)
    await eventually(lambda: ring.lives(COPY.id), within=1)
    assert departures.departing(ANN)


async def test_users_go_and_may_come_back(
    feed: NatsKeyFeed, copies: NatsKeyCopies, departures: Departures, provisioned: JetStream
) -> None:
    words = NatsPurgeWords(provisioned)
    await words.under_way(user_digest(ANN))
    await copies.say_complete()
    await feed.refresh()
    assert departures.departing(ANN)
    assert await words.take_back(user_digest(ANN), (await words.said())[user_digest(ANN)])
    await eventually(lambda: not departures.departing(ANN), within=1)
    await words.under_way(user_digest(ANN))
    await eventually(lambda: departures.departing(ANN), within=1)


async def test_whose_end_was_said_and_forgotten_while_it_was_cut_off_may_come_back(
    nats_server: NatsServer,
    client: Client,
    provisioned: JetStream,
    ring: KeyRing,
    copies: NatsKeyCopies,
    departures: Departures,
) -> None:
    feed = NatsKeyFeed(client, provisioned, ring, departures)
    words = NatsPurgeWords(provisioned)
    await words.under_way(user_digest(ANN))
    await copies.say_complete()
    await feed.refresh()
    assert departures.departing(ANN)
    # That it is over is said for an hour; this gateway was away for longer.
    await provisioned.api(
        stream_purge(streams.bucket_stream(streams.KEYS)),
        {"filter": bucket_key(streams.KEYS, f"{WORD}*")},
    )
    nats_server.kill()
    await nats_server.start()
    await eventually(lambda: connection_of(client) == 1)

    await feed.refresh()

    assert not departures.departing(ANN)
