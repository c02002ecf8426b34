"""What counters of budgets promise: the fake and NATS both keep it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from services.api.adapters.nats_budgets import NatsCounters
from services.api.ports.budgets import Counter, CounterStore
from shared.contracts import streams
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId
from shared.contracts.streams import Capacity
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import JetStream
from tests.fakes.api.budgets import FakeCounters
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

KEY, OTHER = f"{'a' * 64}.2026-11", f"{'a' * 64}.2026-12"
A_MONTH = 31 * 86400.0
FULL = Counter(
    tokens=2**60,
    money=Decimal("123456789012345678.123456789012"),
    open={CompletionId("chatcmpl-x"): 1_795_000_000, CompletionId("chatcmpl-y"): 1},
    whole=False,
    doubts=7,
)


@pytest.fixture(params=["fake", "nats"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[CounterStore]:
    if request.param == "fake":
        yield FakeCounters()
        return
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.GATEWAY)
        await server.provision(Capacity())
        yield NatsCounters(JetStream(client))
        await client.close()


async def test_a_counter_comes_back_to_the_last_digit(store: CounterStore) -> None:
    assert await store.get(KEY) is None
    assert await store.set(KEY, FULL, None, A_MONTH)
    held = await store.get(KEY)
    assert held is not None
    assert held.counter == FULL
    assert await store.get(OTHER) is None
    assert await store.set(OTHER, Counter(), None, A_MONTH)
    other = await store.get(OTHER)
    assert other is not None
    assert other.counter == Counter()


async def test_only_who_read_the_last_one_changes_it(store: CounterStore) -> None:
    assert await store.set(KEY, FULL, None, A_MONTH)
    assert not await store.set(KEY, FULL, None, A_MONTH)
    held = await store.get(KEY)
    assert held is not None
    changing = (store.set(KEY, replace(FULL, tokens=n), held.revision, A_MONTH) for n in range(20))
    won = await asyncio.gather(*changing)
    assert sum(won) == 1
    now = await store.get(KEY)
    assert now is not None
    assert now.counter.tokens == won.index(True)
    assert now.revision != held.revision


async def test_writing_the_same_again_is_a_change_too(store: CounterStore) -> None:
    # Who adds up meanwhile has to notice.
    assert await store.set(KEY, FULL, None, A_MONTH)
    first = await store.get(KEY)
    assert first is not None
    assert await store.set(KEY, FULL, first.revision, A_MONTH)
    assert not await store.set(KEY, FULL, first.revision, A_MONTH)


@pytest.mark.parametrize("value", [b"", b"5", b"[]", b"{}", b'{"tokens": "x"}', b"\xff"])
async def test_what_is_no_counter_is_one_that_nobody_believes(tmp_path: Path, value: bytes) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.GATEWAY)
        await server.provision(Capacity())
        jetstream = JetStream(client)
        await Bucket(jetstream, streams.BUDGETS).put(f"spent.{KEY}", value)
        store = NatsCounters(jetstream)
        held = await store.get(KEY)
        assert held is not None
        assert not held.counter.whole
        assert await store.set(KEY, Counter(), held.revision, A_MONTH)
        await client.close()
