"""JetStream, buckets and proven subscriptions on a real nats-server."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contracts import streams
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream, StoredMessage
from shared.messaging.subscriptions import ProvenSubscription
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_the_first_writer_of_an_event_wins(provisioned: JetStream) -> None:
    await provisioned.publish_once("chat.events.completed.x", b"first")

    with pytest.raises(AlreadyPublished):
        await provisioned.publish_once("chat.events.completed.x", b"second")
    stored = await provisioned.last(streams.EVENTS, "chat.events.completed.x")
    assert stored is not None
    assert stored.data == b"first"


async def test_a_replay_gives_all_messages_of_one_subject_in_order_over_many_batches(
    provisioned: JetStream,
) -> None:
    for number in range(25):
        await provisioned.publish("chat.events.completed.x", str(number).encode())
        await provisioned.publish(f"chat.events.completed.y{number}", b"other")

    replay = provisioned.replay(streams.EVENTS, "chat.events.completed.x", batch=10)
    assert [int(message.data) async for message in replay] == list(range(25))


async def test_a_replay_of_a_subject_without_messages_is_empty(provisioned: JetStream) -> None:
    replay = provisioned.replay(streams.EVENTS, "chat.events.completed.none")
    assert [message async for message in replay] == []


async def test_a_replay_goes_on_where_the_server_ends_a_batch_by_its_size(
    provisioned: JetStream,
) -> None:
    for _ in range(24):
        await provisioned.publish("chat.events.completed.x", bytes(3 * 2**20))

    replay = provisioned.replay(streams.EVENTS, "chat.events.completed.x")
    assert [message.sequence async for message in replay] == list(range(1, 25))


async def test_a_replay_without_stream_or_connection_says_that_the_broker_is_unavailable(
    jetstream: JetStream, client: Client
) -> None:
    with pytest.raises(BrokerUnavailable):
        await anext(jetstream.replay(streams.EVENTS, "chat.events.completed.x"))

    await client.close()
    with pytest.raises(BrokerUnavailable):
        await anext(jetstream.replay(streams.EVENTS, "chat.events.completed.x"))


@pytest.mark.parametrize("reply", [b"no JSON", b"[]", b"{}"])
async def test_an_answer_that_is_not_of_jetstream_is_an_error_of_ours(
    jetstream: JetStream, client: Client, reply: bytes
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(reply)

    await client.subscribe("chat.events.completed.x", cb=answer)

    with pytest.raises(BrokerUnavailable):
        await jetstream.publish("chat.events.completed.x", b"")


async def test_since_finds_the_first_message_stored_at_or_after_a_time(
    provisioned: JetStream,
) -> None:
    await provisioned.publish("chat.events.completed.a", b"1")
    await provisioned.publish("chat.events.completed.b", b"2")
    second = await provisioned.last(streams.EVENTS, "chat.events.completed.b")
    assert second is not None

    found = await provisioned.since(streams.EVENTS, second.time)

    assert found is not None
    assert found.data == b"2"


async def test_deleting_a_message_that_is_gone_says_so(provisioned: JetStream) -> None:
    sequence = await provisioned.publish("chat.requests.m.a", b"job")

    assert await provisioned.delete(streams.REQUESTS, sequence) is True
    assert await provisioned.delete(streams.REQUESTS, sequence) is False


async def test_a_broker_that_is_away_is_an_error_within_the_deadline(
    nats_server: NatsServer, client: Client
) -> None:
    jetstream = JetStream(client, timeout=0.3)
    nats_server.kill()

    with pytest.raises(BrokerUnavailable):
        await jetstream.publish("chat.events.completed.x", b"")


async def test_a_renewed_key_keeps_its_time_to_live_and_then_goes(provisioned: JetStream) -> None:
    bucket = Bucket(provisioned, streams.TURNS)
    revision = await bucket.create("s", b"1", ttl=1)
    await bucket.update("s", b"2", revision, ttl=1)

    entry = await bucket.get("s")
    assert entry is not None
    assert entry.value == b"2"

    async def gone() -> bool:
        return await bucket.get("s") is None

    await eventually(gone, within=5)
    await bucket.create("s", b"3", ttl=1)


async def test_a_purged_key_can_be_created_again_at_once(provisioned: JetStream) -> None:
    bucket = Bucket(provisioned, streams.TURNS)
    await bucket.create("s", b"1")
    await bucket.purge("s")

    assert await bucket.get("s") is None
    await bucket.create("s", b"2")
    with pytest.raises(AlreadyPublished):
        await bucket.create("s", b"3")


class MarkerGoes(JetStream):
    """Finds a marker, which has expired by the time that its finder goes on."""

    async def last(self, stream: str, subject: str) -> StoredMessage | None:
        """What stood there, once it stands there no more."""
        found = await super().last(stream, subject)

        async def gone() -> bool:
            return await super(MarkerGoes, self).last(stream, subject) is None

        await eventually(gone)
        return found


async def test_a_key_whose_marker_expires_just_now_can_be_created(
    provisioned: JetStream, client: Client
) -> None:
    bucket = Bucket(MarkerGoes(client), streams.TURNS)
    await bucket.create("s", b"1")
    await bucket.purge("s")

    await bucket.create("s", b"2")

    entry = await Bucket(provisioned, streams.TURNS).get("s")
    assert entry is not None
    assert entry.value == b"2"


async def test_an_update_that_missed_a_change_is_refused(provisioned: JetStream) -> None:
    bucket = Bucket(provisioned, streams.TURNS)
    revision = await bucket.put("s", b"1")
    await bucket.put("s", b"2")

    with pytest.raises(AlreadyPublished):
        await bucket.update("s", b"3", revision)


async def test_of_many_creators_exactly_one_wins(provisioned: JetStream) -> None:
    bucket = Bucket(provisioned, streams.TURNS)

    results = await asyncio.gather(
        *(bucket.create("s", str(n).encode(), ttl=5) for n in range(20)), return_exceptions=True
    )

    assert sum(isinstance(result, int) for result in results) == 1


async def test_a_proven_subscription_hears_everything_from_its_opening_on(client: Client) -> None:
    heard: list[bytes] = []

    async def listen(message: Msg) -> None:
        heard.append(message.data)

    subscription = ProvenSubscription(
        client, "chat.chunks.gw.*", listen, probe_subject="chat.chunks.gw.probe"
    )
    await subscription.open()
    await client.publish("chat.chunks.gw.x", b"1")
    await eventually(lambda: heard == [b"1"])
    await subscription.close()


async def test_a_subscription_that_cannot_be_proven_is_an_error(
    nats_server: NatsServer, client: Client
) -> None:
    async def listen(_message: Msg) -> None:
        return

    nats_server.kill()
    with pytest.raises(BrokerUnavailable):
        await ProvenSubscription(client, "x", listen).open(timeout=0.3)


async def test_a_probe_of_yesterday_proves_nothing_today(
    nats_server: NatsServer, client: Client
) -> None:
    busy, go_on = asyncio.Event(), asyncio.Event()

    async def listen(_message: Msg) -> None:
        busy.set()
        await go_on.wait()

    subscription = ProvenSubscription(client, "x", listen)
    await subscription.open()
    await client.publish("x", b"")
    await busy.wait()
    with pytest.raises(BrokerUnavailable):
        # Its probes come back, but wait behind the callback.
        await subscription.prove(timeout=0.3)
    nats_server.kill()
    go_on.set()

    with pytest.raises(BrokerUnavailable):
        await subscription.prove(timeout=0.3)


async def test_a_subscription_can_be_closed_while_the_connection_drains(client: Client) -> None:
    busy, go_on = asyncio.Event(), asyncio.Event()

    async def listen(_message: Msg) -> None:
        busy.set()
        await go_on.wait()

    subscription = ProvenSubscription(client, "x", listen)
    await subscription.open()
    await client.publish("x", b"")
    await busy.wait()
    draining = asyncio.create_task(client.drain())
    await eventually(lambda: client.is_draining)

    await subscription.close()

    go_on.set()
    await draining
