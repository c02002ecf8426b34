"""The stores that the contract is tried on: memory, nx-27017, and MongoDB.

That is the server at ``--mongodb-url``, or one in Docker where that runs.
"""

from collections.abc import AsyncGenerator, Generator

import pytest

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    MESSAGES,
    SESSIONS,
    TERMS,
    USAGE,
    create_indexes,
    open_client,
)
from services.history.adapters.mongo_messages import MongoMessageStore
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_terms import MongoTerms
from services.history.adapters.mongo_turns import MongoTurnStore
from shared.contracts.ids import SessionId
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.records import Stores
from tests.support.mongo_server import MongoServer, docker_answers


@pytest.fixture(scope="session")
def nx_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with MongoServer(tmp_path_factory.mktemp("nx")) as server:
        yield server.url


@pytest.fixture(scope="session")
def mongodb_url(request: pytest.FixtureRequest) -> Generator[str]:
    named = request.config.getoption("--mongodb-url")
    if named is not None:
        yield named
        return
    if not docker_answers():
        pytest.skip("no Docker engine answers, so there is no real MongoDB to try")
    from testcontainers.mongodb import MongoDbContainer

    with MongoDbContainer("mongo:8") as container:
        yield container.get_connection_url()


def _in_memory() -> Stores:
    store = MemoryStore()

    async def totals() -> list[int]:
        return [record.total_tokens for record in store.usage.values()]

    async def age() -> None:
        return

    async def begin_purge(session_id: SessionId) -> None:
        store.purging.add(session_id)

    return Stores(store, store, store, store, store, totals, age, begin_purge)


@pytest.fixture(params=["memory", "nx", "mongodb"])
async def stores(request: pytest.FixtureRequest) -> AsyncGenerator[Stores]:
    if request.param == "memory":
        yield _in_memory()
        return
    client = open_client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    # Emptied, not named anew for each test: all databases of nx-27017 share their collections.
    for name in (SESSIONS, MESSAGES, USAGE, COMPLETIONS, TERMS):
        await database.drop_collection(name)
    await create_indexes(database)

    async def totals() -> list[int]:
        return [document["total_tokens"] async for document in database[USAGE].find()]

    async def age() -> None:
        await database[MESSAGES].update_many({}, {"$unset": {"place": "", "order": ""}})
        await database[SESSIONS].update_many({}, {"$unset": {"version": ""}})

    async def begin_purge(session_id: SessionId) -> None:
        await database[SESSIONS].update_one({"_id": session_id}, {"$set": {"purging": True}})

    sessions = MongoSessionStore(database)
    yield Stores(
        MongoTurnStore(database),
        sessions,
        sessions,
        MongoMessageStore(database),
        MongoTerms(database),
        totals,
        age,
        begin_purge,
    )
    client.close()
