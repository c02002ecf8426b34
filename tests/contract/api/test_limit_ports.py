"""What readings and slots promise: fakes and NATS both keep it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import pytest

from services.api.adapters.nats_limits import NatsMeters, NatsSlots
from services.api.ports.limits import MeterStore, Slots
from shared.contracts.identities import Identity
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.limits import FakeMeters, FakeSlots
from tests.fakes.api.ports import FakeClock
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

HOLDER, OTHER = "a" * 64, "b" * 64
SOME = {"requests": 1_795_000_000_123_456_789}


class Ports(NamedTuple):
    meters: MeterStore
    slots: Slots


@pytest.fixture(params=["fakes", "nats"])
async def ports(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Ports]:
    if request.param == "fakes":
        yield Ports(FakeMeters(), FakeSlots(FakeClock()))
        return
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.GATEWAY)
        jetstream = JetStream(client)
        await server.provision(Capacity())
        yield Ports(NatsMeters(jetstream), NatsSlots(jetstream))
        await client.close()


async def test_readings_come_back_to_the_nanosecond(ports: Ports) -> None:
    assert await ports.meters.get(HOLDER) is None
    assert await ports.meters.set(HOLDER, SOME, None, 60)
    held = await ports.meters.get(HOLDER)
    assert held is not None
    assert held.readings == SOME
    assert await ports.meters.get(OTHER) is None


async def test_only_who_read_the_last_ones_changes_them(ports: Ports) -> None:
    assert await ports.meters.set(HOLDER, SOME, None, 60)
    assert not await ports.meters.set(HOLDER, SOME, None, 60)
    held = await ports.meters.get(HOLDER)
    assert held is not None
    changing = (ports.meters.set(HOLDER, {"n": n}, held.revision, 60) for n in range(20))
    won = await asyncio.gather(*changing)
    assert sum(won) == 1
    now = await ports.meters.get(HOLDER)
    assert now is not None
    assert now.readings == {"n": won.index(True)}


async def test_a_slot_has_one_owner(ports: Ports) -> None:
    taking = (ports.slots.take(HOLDER, 0, f"owner-{n}") for n in range(20))
    revisions = await asyncio.gather(*taking)
    won = [n for n, revision in enumerate(revisions) if revision is not None]
    assert len(won) == 1
    assert await ports.slots.find(HOLDER, 0) == (f"owner-{won[0]}", revisions[won[0]])
    assert await ports.slots.take(HOLDER, 1, "me") is not None
    assert await ports.slots.take(OTHER, 0, "me") is not None


async def test_renewing_names_the_revision_and_gives_the_next(ports: Ports) -> None:
    first = await ports.slots.take(HOLDER, 0, "me")
    assert first is not None
    second = await ports.slots.renew(HOLDER, 0, "me", first)
    assert second is not None
    assert await ports.slots.renew(HOLDER, 0, "me", first) is None
    assert await ports.slots.find(HOLDER, 0) == ("me", second)
    assert await ports.slots.renew(HOLDER, 1, "me", second) is None


async def test_a_released_slot_is_free_at_once_again_and_again(ports: Ports) -> None:
    for _ in range(5):
        revision = await ports.slots.take(HOLDER, 0, "me")
        assert revision is not None
        assert not await ports.slots.release(HOLDER, 0, revision + 1000)
        assert await ports.slots.release(HOLDER, 0, revision)
        assert await ports.slots.find(HOLDER, 0) is None
        assert not await ports.slots.release(HOLDER, 0, revision)
