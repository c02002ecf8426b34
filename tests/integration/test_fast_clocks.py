"""A machine whose clock is ahead takes nothing for gone that the broker still keeps."""

from datetime import datetime, timedelta

import pytest

from shared.clock import utc_now
from shared.contracts import streams
from shared.contracts.identities import Identity
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

WRITTEN = (
    *((Identity.GATEWAY, bucket) for bucket in streams.BUCKETS[:3]),
    (Identity.GATEWAY, streams.TURNS),
    (Identity.GATEWAY, streams.IDEMPOTENCY),
    (Identity.WORKER, streams.CATALOG),
    (Identity.HISTORY, streams.KEYS),
)
READ = (
    (Identity.GATEWAY, streams.CATALOG),
    (Identity.GATEWAY, streams.KEYS),
    (Identity.WORKER, streams.CANCELLATIONS),
)


def ten_minutes_ahead() -> datetime:
    return utc_now() + timedelta(minutes=10)


@pytest.mark.parametrize(("identity", "name"), [*WRITTEN, *READ])
async def test_what_others_hold_is_neither_forgotten_nor_taken_from_them(
    nats_server: NatsServer, provisioned: JetStream, identity: Identity, name: str
) -> None:
    revision = await Bucket(provisioned, name).put("held.x", b"theirs", ttl=15)
    client = await connect(nats_server.url, identity)
    bucket = Bucket(JetStream(client), name, ten_minutes_ahead)
    found = await bucket.get("held.x")
    assert found is not None
    assert (found.value, found.revision) == (b"theirs", revision)
    if (identity, name) in WRITTEN:
        with pytest.raises(AlreadyPublished):
            await bucket.create("held.x", b"mine", ttl=15)
    await client.close()
