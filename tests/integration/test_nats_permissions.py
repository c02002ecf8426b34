"""Each identity tries what it must not do on a real broker, and is refused; what it may, works."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.nats.permissions import PERMISSIONS, matches
from shared.contracts import streams, subjects
from shared.contracts.identities import WORKERS_ANSWER, Identity
from shared.contracts.ids import new_completion_id
from shared.contracts.streams import Capacity
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import JetStream
from shared.nkey_seeds import new_seed
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

P, G, W, H, O = (  # noqa: E741 - one letter for each column of the tables
    Identity.PROVISIONER,
    Identity.GATEWAY,
    Identity.WORKER,
    Identity.HISTORY,
    Identity.OPERATOR,
)
ID: Final = new_completion_id()

MUST_NOT_PUBLISH: Final = [
    # Requests are queued by gateways.
    *((who, f"chat.requests.demo-1.{lane}") for who in (P, W, H, O) for lane in "ab"),
    # Tokens and ends come from workers, and from gateways what no worker will end.
    *((who, f"chat.chunks.gw.{ID}") for who in (P, H, O)),
    *((who, f"chat.control.{ID}") for who in (P, H, O)),
    *((who, f"chat.watched.{ID}") for who in (P, W, H, O)),
    *((who, "chat.workers.demo-1") for who in (P, W, H, O)),
    *((who, "chat.sync") for who in (P, W, H, O)),
    # Facts: only gateways accept; who owns an end is a gateway, a worker or history's sweeper.
    *((who, f"chat.events.accepted.{ID}") for who in (P, W, H, O)),
    *((who, f"chat.events.completed.{ID}") for who in (P, O)),
    *((who, "chat.events.invented.x") for who in Identity),
    # Stored sessions are asked for by gateways and by who owns the data directory.
    *((who, "chat.history.get_session") for who in (P, W, H)),
    # What happens in sessions is told by gateways, and by history, which stores it.
    *((who, "chat.live.user.session") for who in (P, W, O)),
    *((who, "chat.settings") for who in (P, W, O)),
    *((who, "chat.provision.model") for who in (P, G, H, O)),
    # Each buries its own.
    *((who, "chat.dead_letters.history") for who in (P, G, W, O)),
    *((who, "chat.dead_letters.inference_worker") for who in (P, G, H, O)),
    # Another's buckets.
    *((who, f"$KV.{bucket}.x") for who in (P, O) for bucket in streams.BUCKETS),
    *((G, f"$KV.{bucket}.x") for bucket in ("keys", "catalog")),
    *((W, f"$KV.{bucket}.x") for bucket in streams.BUCKETS if bucket != "catalog"),
    *((H, f"$KV.{bucket}.x") for bucket in streams.BUCKETS if bucket != "keys"),
    (G, "$KV.of_ones_own.x"),
    # Streams, consumers and buckets are the provisioner's; nobody deletes them.
    *((who, "$JS.API.STREAM.CREATE.MINE") for who in Identity),
    *((who, f"$JS.API.STREAM.CREATE.{streams.EVENTS}") for who in (G, W, H, O)),
    *((who, f"$JS.API.STREAM.UPDATE.{streams.EVENTS}") for who in (G, W, H, O)),
    *((who, f"$JS.API.STREAM.DELETE.{streams.EVENTS}") for who in Identity),
    *((who, "$JS.API.STREAM.DELETE.KV_keys") for who in Identity),
    *((who, f"$JS.API.STREAM.PURGE.{streams.EVENTS}") for who in (P, G, W, O)),
    *((who, f"$JS.API.STREAM.PURGE.{streams.REQUESTS}") for who in Identity),
    *((who, "$JS.API.STREAM.PURGE.KV_keys") for who in Identity),
    *((who, f"$JS.API.STREAM.RESTORE.{streams.EVENTS}") for who in Identity),
    *((who, f"$JS.API.STREAM.SNAPSHOT.{streams.EVENTS}") for who in Identity),
    # What is of a user who goes, history takes out, and nothing else with it.
    *((who, f"$JS.API.STREAM.PURGE.{streams.CHUNKS}") for who in (P, G, W, O)),
    *((who, f"$JS.API.STREAM.PURGE.{streams.DEAD_LETTERS}") for who in Identity),
    *((who, f"$JS.API.STREAM.PURGE.KV_{bucket}") for who in (P, G, W, O)
      for bucket in ("turns", "idempotency", "limits", "budgets")),
    *((who, f"$JS.API.STREAM.PURGE.KV_{bucket}") for who in Identity
      for bucket in ("cancellations", "catalog")),
    *((who, f"$JS.API.STREAM.MSG.DELETE.{streams.REQUESTS}") for who in (P, W, O)),
    *((who, f"$JS.API.STREAM.MSG.DELETE.{streams.DEAD_LETTERS}") for who in (P, G, W, O)),
    *((who, f"$JS.API.STREAM.MSG.DELETE.{streams.EVENTS}") for who in Identity),
    *((who, f"$JS.API.STREAM.MSG.GET.{streams.EVENTS}") for who in Identity),
    *((who, f"$JS.API.STREAM.MSG.GET.KV_{bucket}") for who in (P, W, H, O)
      for bucket in ("keys", "idempotency")),
    *((who, f"$JS.API.CONSUMER.CREATE.{streams.REQUESTS}.mine.>") for who in Identity),
    *((who, f"$JS.API.CONSUMER.DURABLE.CREATE.{streams.REQUESTS}.mine") for who in (G, W, H, O)),
    *((who, f"$JS.API.CONSUMER.DELETE.{streams.REQUESTS}.w_demo_a") for who in Identity),
    *((who, f"$JS.API.CONSUMER.DELETE.{streams.EVENTS}.history") for who in Identity),
    # Work is pulled by workers, events by history, and acknowledged by the same.
    *((who, f"$JS.API.CONSUMER.MSG.NEXT.{streams.REQUESTS}.w_demo_a") for who in (P, G, H, O)),
    *((who, f"$JS.API.CONSUMER.MSG.NEXT.{streams.EVENTS}.history") for who in (P, G, W, O)),
    *((who, f"$JS.ACK.{streams.REQUESTS}.w_demo_a.1.1.1.1.0") for who in (P, G, H, O)),
    *((who, f"$JS.ACK.{streams.EVENTS}.history.1.1.1.1.0") for who in (P, G, W, O)),
    # Prompts and answers are read by whom they are for.
    *((who, f"$JS.API.DIRECT.GET.{streams.REQUESTS}") for who in (P, W, O)),
    *((who, f"$JS.API.DIRECT.GET.{streams.CHUNKS}") for who in (P, H, O)),
    *((who, f"$JS.API.DIRECT.GET.{streams.EVENTS}") for who in (P, G, W, O)),
    *((who, f"$JS.API.DIRECT.GET.{streams.EVENTS}.chat.events.accepted.{ID}") for who in (P, W, O)),
    *((who, f"$JS.API.DIRECT.GET.{streams.DEAD_LETTERS}") for who in (P, G, W, O)),
    *((who, "$JS.API.DIRECT.GET.KV_keys.$KV.keys.x") for who in (P, W, O)),
    *((who, "$JS.API.DIRECT.GET.KV_turns.$KV.turns.x") for who in (P, W, H, O)),
    *((who, "$JS.API.DIRECT.GET.KV_limits") for who in Identity),
    *((who, "$JS.API.INFO") for who in Identity),
    *((who, "$JS.API.STREAM.NAMES") for who in Identity),
    # A reply that nobody has asked for.
    *((who, f"{other.inbox}.x.y") for who in Identity for other in Identity if other is not who),
    *((who, "_INBOX.x.y") for who in Identity),
    # Only workers answer where workers answer.
    *((who, f"{WORKERS_ANSWER}.x") for who in (P, G, H, O)),
    *((who, "$SYS.REQ.SERVER.PING") for who in Identity),
    *((who, "$SYS.REQ.ACCOUNT.$G.CONNZ") for who in Identity),
    *((who, "anything.else") for who in Identity),
]  # fmt: skip

MUST_NOT_SUBSCRIBE: Final = [
    *((who, many) for who in Identity for many in (">", "*", "*.>", "chat.>", "$KV.>", "$JS.>")),
    *((who, "$SYS.>") for who in Identity),
    *((who, "_INBOX.>") for who in Identity),
    *((who, f"{other.inbox}.>") for who in Identity for other in Identity if other is not who),
    *((who, f"{WORKERS_ANSWER}.>") for who in (P, W, H, O)),
    *((who, "chat.requests.>") for who in Identity),
    *((who, "chat.events.>") for who in Identity),
    *((who, "chat.dead_letters.>") for who in Identity),
    *((who, "chat.chunks.*.*") for who in (P, W, H, O)),
    *((who, f"chat.chunks.*.{ID}") for who in (P, W, H, O)),
    *((who, "chat.control.*") for who in (P, G, H, O)),
    *((who, "chat.watched.*") for who in (P, H, O)),
    *((who, "chat.workers.*") for who in (P, G, H, O)),
    *((who, "chat.sync") for who in (P, G, H, O)),
    *((who, "chat.history.*") for who in (P, G, W, O)),
    *((who, "chat.live.*.*") for who in (P, W, H, O)),
    *((who, "chat.settings") for who in (P, W, H, O)),
    *((who, "chat.provision.model") for who in (G, W, H, O)),
    *((who, "$KV.keys.>") for who in (P, W, H, O)),
    *((who, f"$KV.{name}.>") for who in Identity for name in ("limits", "turns", "idempotency")),
    *((who, "$JS.EVENT.ADVISORY.>") for who in Identity),
    *((who, "$JS.ACK.>") for who in Identity),
]  # fmt: skip


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncGenerator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        await server.provision(Capacity())
        yield server


class Intruder:
    """A connection that notes what the broker refuses."""

    def __init__(self, client: Client, refused: list[str]) -> None:
        self.client = client
        self.refused = refused


@asynccontextmanager
async def intruder(broker: NatsServer, identity: Identity) -> AsyncIterator[Intruder]:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await connect(broker.url, identity, error_cb=note)
    try:
        yield Intruder(client, refused)
    finally:
        await client.close()


def tried_by(identity: Identity, table: list[tuple[Identity, str]]) -> list[str]:
    return [subject for who, subject in table if who is identity]


@pytest.mark.parametrize("identity", Identity)
async def test_what_an_identity_must_not_publish_is_refused_and_reaches_nobody(
    broker: NatsServer, identity: Identity
) -> None:
    tried = tried_by(identity, MUST_NOT_PUBLISH)
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(str(message))

    everybody = await connect(broker.url)
    await everybody.subscribe(">", cb=hear)
    await everybody.flush()
    async with intruder(broker, identity) as attack:
        for subject in tried:
            await attack.client.publish(subject, b"{}", reply=f"{identity.inbox}.reply")
        await attack.client.flush()
        await eventually(lambda: len(attack.refused) >= len(tried))
        assert attack.client.is_connected
    await everybody.flush()

    for subject, refusal in zip(tried, attack.refused, strict=True):
        assert f'permissions violation for publish to "{subject}"'.lower() in refusal.lower()
    assert heard == []
    assert len(broker.violations()) == len(tried)
    await everybody.close()


@pytest.mark.parametrize("identity", Identity)
async def test_what_an_identity_must_not_hear_is_refused(
    broker: NatsServer, identity: Identity
) -> None:
    tried = tried_by(identity, MUST_NOT_SUBSCRIBE)
    async with intruder(broker, identity) as attack:
        for subject in tried:
            await attack.client.subscribe(subject)
        await attack.client.flush()
        await eventually(lambda: len(attack.refused) >= len(tried))

    for subject, refusal in zip(tried, attack.refused, strict=True):
        assert f'permissions violation for subscription to "{subject}"'.lower() in refusal.lower()
    assert len(broker.violations()) == len(tried)


@pytest.mark.parametrize("identity", Identity)
async def test_what_is_granted_is_allowed(broker: NatsServer, identity: Identity) -> None:
    # The control: a broker that refused everything would pass the tests above.
    granted = PERMISSIONS[identity]
    async with intruder(broker, identity) as honest:
        for pattern in granted.subscribe:
            await honest.client.subscribe(pattern)
        for pattern in granted.publish:
            subject = pattern.replace("*", "x").replace(">", "x")
            await honest.client.publish(subject, b"{}", reply=f"{identity.inbox}.reply")
        await honest.client.flush()
        assert granted.publish
        assert honest.refused == []
    assert broker.violations() == []


async def test_an_answer_may_be_given_once_and_only_to_who_has_asked(broker: NatsServer) -> None:
    replies: list[str] = []

    async def hear(message: object) -> None:
        replies.append(str(message))

    gateway = await connect(broker.url, Identity.GATEWAY)
    await gateway.subscribe(f"{Identity.GATEWAY.inbox}.>", cb=hear)
    await gateway.flush()
    async with intruder(broker, Identity.HISTORY) as history:
        questions = await history.client.subscribe(subjects.HISTORY)
        await history.client.flush()
        inbox = f"{Identity.GATEWAY.inbox}.a.b"
        await gateway.publish(subjects.history("health"), b"", reply=inbox)
        question = await questions.next_msg(timeout=5)
        for _ in range(2):
            await history.client.publish(question.reply, b"answer")
        await history.client.flush()
        await eventually(lambda: len(history.refused) == 1 and len(replies) == 1)
    assert len(broker.violations()) == 1
    await gateway.close()


@pytest.mark.parametrize("identity", Identity)
async def test_who_asks_himself_may_not_answer_wherever_his_question_says(
    broker: NatsServer, identity: Identity
) -> None:
    # The broker lets who has received a question publish to its reply subject, whatever it is.
    granted = PERMISSIONS[identity]
    both = [
        pattern.replace("*", ID).replace(">", ID)
        for pattern in granted.publish
        if any(matches(heard, pattern) or matches(pattern, heard) for heard in granted.subscribe)
    ]
    wanted = ["chat.history.create_key", "$KV.keys.key.x", "$JS.API.STREAM.DELETE.CHAT_EVENTS"]
    tried = [target for target in wanted if not _may_publish(identity, target)]
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        # Where a stream has stored a question, its acknowledgement is the broker's own.
        if message.reply:
            heard.append(message.subject)

    everybody = await connect(broker.url)
    await everybody.subscribe("chat.history.>", cb=hear)
    await everybody.subscribe("$KV.keys.>", cb=hear)
    await everybody.flush()
    async with intruder(broker, identity) as attack:
        for own in both:
            questions = await attack.client.subscribe(own)
            for target in tried:
                await attack.client.publish(own, b"", reply=target)
                assert (await questions.next_msg(timeout=5)).reply == target
                await attack.client.publish(target, b"", reply=f"{identity.inbox}.reply")
        await attack.client.flush()
        await eventually(lambda: len(attack.refused) >= len(both) * len(tried))
    await everybody.flush()
    assert heard == []
    assert len(broker.violations()) == len(both) * len(tried)
    info = await JetStream(everybody).api(f"STREAM.INFO.{streams.EVENTS}")
    assert info["config"]["name"] == streams.EVENTS
    await everybody.close()


def _may_publish(identity: Identity, subject: str) -> bool:
    return any(matches(pattern, subject) for pattern in PERMISSIONS[identity].publish)


async def stays_outside(broker: NatsServer, url: str, **options: object) -> None:
    """Try to get in without a right key."""
    before = broker.turned_away()
    client = Client()
    # What the broker says before it closes may be lost on the way: its log tells the reason.
    with pytest.raises((nats.errors.Error, OSError)):
        await client.connect(url, allow_reconnect=False, **options)  # type: ignore[arg-type]
    with suppress(OSError):
        await client.close()
    await eventually(lambda: broker.turned_away() == before + 1)


async def test_nobody_gets_in_without_a_key_or_with_another(broker: NatsServer) -> None:
    await stays_outside(broker, broker.url)
    await stays_outside(broker, broker.url, nkeys_seed_str=new_seed())
    address = broker.url.removeprefix("nats://")
    for guessed in ("gateway", "gateway:gateway", "admin:admin"):
        await stays_outside(broker, f"nats://{guessed}@{address}")


async def test_a_refused_question_is_a_broker_that_does_not_answer(broker: NatsServer) -> None:
    # A request without permission looks like one that takes too long: hence the broker's own log.
    async with intruder(broker, Identity.WORKER) as worker:
        jetstream = JetStream(worker.client, timeout=0.2)
        with pytest.raises(BrokerUnavailable):
            await jetstream.api(f"STREAM.INFO.{streams.EVENTS}")
        await eventually(lambda: len(worker.refused) == 1)
    assert len(broker.violations()) == 1


async def test_a_test_fails_on_what_somebody_has_tried_without_permission(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    async with intruder(server, Identity.WORKER) as worker:
        await worker.client.publish("anything.else")
        await worker.client.flush()
    with pytest.raises(AssertionError, match=r"worker: .* Publish Violation - .*anything\.else"):
        await server.__aexit__(None, None, None)
