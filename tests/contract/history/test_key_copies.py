"""What every place for the copies of keys must do."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from services.history.adapters.nats_key_copies import NatsKeyCopies
from services.history.key_ports import Held, KeyCopies
from shared.contracts.api_keys import KeyCopy
from shared.contracts.identities import Identity
from shared.contracts.ids import UserId
from shared.contracts.streams import Capacity
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream
from tests.fakes.history.memory_keys import MemoryKeyCopies
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer

DIGEST = "a" * 64
COPY = KeyCopy(id="k1", user_id=UserId("alice"), models=["llama*"], concurrent=0)
REVOKED = COPY.model_copy(update={"revoked": True})


@pytest.fixture(params=["memory", "nats"])
async def copies(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[KeyCopies]:
    if request.param == "memory":
        yield MemoryKeyCopies()
        return
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.HISTORY)
        jetstream = JetStream(client)
        await server.provision(Capacity())
        yield NatsKeyCopies(jetstream)
        await client.close()


async def test_what_was_created_is_read_and_not_created_again(copies: KeyCopies) -> None:
    assert await copies.read() == {}
    assert await copies.create(DIGEST, COPY)
    assert not await copies.create(DIGEST, REVOKED)
    assert [held.copy for held in (await copies.read()).values()] == [COPY]
    assert set(await copies.read()) == {DIGEST}


async def test_only_the_revision_that_was_seen_is_replaced(copies: KeyCopies) -> None:
    await copies.create(DIGEST, COPY)
    seen = (await copies.read())[DIGEST]
    await copies.put(DIGEST, REVOKED)

    assert not await copies.replace(DIGEST, COPY, seen.revision)
    now = (await copies.read())[DIGEST]
    assert now.copy == REVOKED
    assert await copies.replace(DIGEST, COPY, now.revision)
    assert (await copies.read())[DIGEST].copy == COPY


async def test_many_copies_are_all_read(copies: KeyCopies) -> None:
    digests = {f"{number:064x}" for number in range(300)}
    for digest in digests:
        await copies.put(digest, COPY)
    assert set(await copies.read()) == digests


async def test_it_is_complete_once_somebody_has_said_so(copies: KeyCopies) -> None:
    assert not await copies.is_complete()
    await copies.say_complete()
    assert await copies.is_complete()
    assert await copies.read() == {}


async def test_what_is_no_copy_is_seen_and_can_be_replaced(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.HISTORY)
        jetstream = JetStream(client)
        copies = NatsKeyCopies(jetstream)
        with pytest.raises(BrokerUnavailable):
            await copies.is_complete()
        await server.provision(Capacity())
        number = await Bucket(jetstream, "keys").put(f"key.{DIGEST}", b"no json")
        assert await copies.read() == {DIGEST: Held(None, number)}
        assert await copies.replace(DIGEST, REVOKED, number)
        await client.close()
