"""What every store must do with API keys."""

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest

from services.history.adapters.mongo_client import API_KEYS, create_indexes, open_client
from services.history.adapters.mongo_keys import MongoKeyStore
from services.history.key_ports import KeyStore
from services.history.key_records import KeyRecord
from tests.fakes.history.conversation import OTHER, USER
from tests.fakes.history.memory_keys import MemoryKeyStore
from tests.fakes.history.records import T0


@pytest.fixture(params=["memory", "nx", "mongodb"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeyStore()
        return
    client = open_client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    await database.drop_collection(API_KEYS)
    await create_indexes(database)
    yield MongoKeyStore(database)
    client.close()


def key(number: int = 1, **changes: object) -> KeyRecord:
    record = KeyRecord(
        id=f"00000000-0000-7000-8000-{number:012d}",
        digest=f"{number:064x}",
        prefix="pk-abcdefgh",
        user_id=USER,
        created_at=T0,
    )
    return record.model_copy(update=changes)


FULL = key(
    name="laptop",
    roles=["admin"],
    models=["llama*", "demo"],
    requests_per_minute=0,
    tokens_per_month=2**40,
    money_per_month=Decimal("12.50"),
    concurrent=5,
    expires_at=T0 + 1000,
)


async def test_a_created_key_comes_back_as_it_was(store: KeyStore) -> None:
    assert await store.create(FULL) == FULL
    assert await store.page(None, 10, None) == [FULL]


async def test_creating_again_gives_the_first_one(store: KeyStore) -> None:
    await store.create(FULL)
    assert await store.create(key(digest="f" * 64, user_id=OTHER)) == FULL
    assert await store.page(None, 10, None) == [FULL]


async def test_pages_hold_each_key_once_in_the_order_of_their_ids(store: KeyStore) -> None:
    made = [key(number, user_id=USER if number % 3 else OTHER) for number in range(1, 8)]
    for record in reversed(made):
        await store.create(record)

    for user, expected in ((None, made), (OTHER, [it for it in made if it.user_id == OTHER])):
        seen: list[KeyRecord] = []
        while page := await store.page(user, 2, seen[-1].id if seen else None):
            assert len(page) <= 2
            seen += page
        assert seen == expected


async def test_a_key_is_revoked_once_and_for_all(store: KeyStore) -> None:
    await store.create(FULL)
    await store.create(key(2))

    revoked = await store.revoke(FULL.id, T0 + 5)
    assert revoked == FULL.model_copy(update={"revoked_at": T0 + 5})
    assert await store.revoke(FULL.id, T0 + 9) == revoked
    assert await store.create(FULL) == revoked
    assert await store.page(None, 10, None) == [revoked, key(2)]
    assert await store.revoke("nobody's", T0) is None


async def test_of_many_who_revoke_a_key_the_first_is_remembered(store: KeyStore) -> None:
    await store.create(FULL)
    answers = await asyncio.gather(*(store.revoke(FULL.id, T0 + n) for n in range(8)))
    moments = {answer.revoked_at for answer in answers if answer is not None}
    assert len(moments) == 1


async def test_only_a_revoked_key_is_forgotten(store: KeyStore) -> None:
    await store.create(FULL)
    await store.create(key(2))
    await store.remove(FULL.id)
    assert len(await store.page(None, 10, None)) == 2

    await store.revoke(FULL.id, T0 + 5)
    await store.remove(FULL.id)
    await store.remove(FULL.id)
    assert await store.page(None, 10, None) == [key(2)]
