"""What tickets promise: in memory and on NATS."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from services.api.adapters.nats_tickets import NatsTickets
from services.api.ports.tickets import TicketEntry, Tickets
from shared.clock import utc_now
from shared.contracts.identities import Identity
from shared.contracts.ids import UserId
from shared.contracts.streams import Capacity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.tickets import FakeTickets
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

DIGEST = "a" * 64
ENTRY = TicketEntry(
    user_id=UserId("alice"),
    roles=["admin"],
    key_id="k1",
    models=["llama*"],
    concurrent=0,
    valid_until=utc_now() + timedelta(seconds=30),
)


@pytest.fixture(params=["fake", "nats"])
async def tickets(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Tickets]:
    if request.param == "fake":
        yield FakeTickets()
        return
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url, Identity.GATEWAY)
        jetstream = JetStream(client)
        await server.provision(Capacity())
        yield NatsTickets(jetstream)
        await client.close()


async def test_a_ticket_is_taken_once(tickets: Tickets) -> None:
    assert await tickets.take(DIGEST) is None
    await tickets.put(DIGEST, ENTRY, 30)
    assert await tickets.take(DIGEST) == ENTRY
    assert await tickets.take(DIGEST) is None


async def test_of_all_who_try_one_gets_it(tickets: Tickets) -> None:
    for number in range(5):
        digest = f"{number:064x}"
        await tickets.put(digest, ENTRY, 30)
        taken = await asyncio.gather(*(tickets.take(digest) for _ in range(10)))
        assert [entry for entry in taken if entry is not None] == [ENTRY]


async def test_tickets_are_each_their_own(tickets: Tickets) -> None:
    other = ENTRY.model_copy(update={"user_id": UserId("bob")})
    await tickets.put(DIGEST, ENTRY, 30)
    await tickets.put("b" * 64, other, 30)
    assert await tickets.take("b" * 64) == other
    assert await tickets.take(DIGEST) == ENTRY


async def test_the_broker_forgets_a_ticket_that_nobody_used(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        client = await connect(server.url)
        jetstream = JetStream(client)
        await server.provision(Capacity())
        await NatsTickets(jetstream).put(DIGEST, ENTRY, 1)

        async def gone() -> bool:
            info = await jetstream.api("STREAM.INFO.KV_idempotency", {"subjects_filter": ">"})
            return f"$KV.idempotency.ticket.{DIGEST}" not in (info["state"].get("subjects") or {})

        await eventually(gone)
        assert await NatsTickets(jetstream).take(DIGEST) is None
        await client.close()
