"""No read of a page looks through all messages or all sessions, on any database."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorDatabase

from services.history.adapters.mongo_client import MESSAGES, SESSIONS, TERMS, create_indexes
from services.history.adapters.mongo_messages import MongoMessageStore
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_terms import MongoTerms
from services.history.adapters.mongo_turns import MongoTurnStore
from services.history.searching import Searching
from services.history.walking import Walking
from services.history.words import Asked
from shared.contracts.ids import MessageId
from tests.fakes.history.conversation import SESSION, USER
from tests.fakes.history.records import T0, message, session
from tests.support.found_by import Queries, indexes_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LENGTH = 400


@pytest.fixture(scope="module")
def all_queries() -> Queries:
    return Queries()


@pytest.fixture
def queries(all_queries: Queries, database: AsyncIOMotorDatabase) -> Queries:
    """What this test alone has asked."""
    all_queries.forget()
    return all_queries


@pytest_asyncio.fixture(params=["nx", "mongodb"], scope="module", loop_scope="module")
async def database(
    request: pytest.FixtureRequest, all_queries: Queries
) -> AsyncGenerator[AsyncIOMotorDatabase]:
    """A session of ``LENGTH`` messages, and as many sessions, which the tests only read."""
    client = all_queries.client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    for name in (SESSIONS, MESSAGES, TERMS):
        await database.drop_collection(name)
    await create_indexes(database)
    turns, sessions = MongoTurnStore(database), MongoSessionStore(database)
    await turns.add_messages(
        [
            message(f"m{depth}", depth=depth, parent_id=MessageId(f"m{depth - 1}"))
            for depth in range(1, LENGTH + 1)
        ]
    )
    for number in range(1, LENGTH + 1):
        await sessions.create(session(number, at=T0 + number))
        await turns.add_terms(USER, session(number).id, ["common"], said=True)
    await turns.add_terms(USER, session(7).id, ["rare"], said=True)
    yield database
    client.close()


async def _indexes(database: AsyncIOMotorDatabase, queries: Queries) -> set[str]:
    return set(await indexes_of(database, list(queries.asked)))


@pytest.mark.parametrize("last", [LENGTH, LENGTH // 2])
async def test_a_page_reads_its_own_messages_by_their_place(
    database: AsyncIOMotorDatabase, queries: Queries, last: int
) -> None:
    store = MongoMessageStore(database)
    (end,) = await store.messages(USER, SESSION, [MessageId(f"m{LENGTH}")])

    stretch = await Walking(store).stretch(USER, SESSION, end.node(), last - 19, last)
    await store.messages(USER, SESSION, [node.id for node in stretch.nodes])

    assert len(stretch.nodes) == 20
    assert queries.given == 1 + 21 + 20
    assert await _indexes(database, queries) <= {"messages_place", "place_1", *_IDS}


async def test_a_page_of_the_tree_reads_its_own_messages_by_their_place(
    database: AsyncIOMotorDatabase, queries: Queries
) -> None:
    store = MongoMessageStore(database)

    nodes = await store.tree(USER, SESSION, (LENGTH // 2, MessageId("m")), 20)
    first, last = nodes[0], nodes[-1]
    found = await store.stretch(USER, SESSION, (first.depth, first.id), (last.depth, last.id))

    assert [it.node() for it in found] == nodes
    assert queries.given == 2 * 20
    assert await _indexes(database, queries) <= {"messages_place", "place_1"}


async def test_the_newest_message_is_read_alone(
    database: AsyncIOMotorDatabase, queries: Queries
) -> None:
    await MongoMessageStore(database).newest(USER, SESSION)

    assert queries.given == 1
    assert await _indexes(database, queries) <= {"messages_order", "order_1"}


async def test_a_list_reads_its_own_page(database: AsyncIOMotorDatabase, queries: Queries) -> None:
    middle = session(LENGTH // 2)
    await MongoSessionStore(database).page(USER, 20, (T0 + LENGTH // 2, middle.id))

    assert queries.given == 20
    assert await _indexes(database, queries) <= {
        "sessions_user_id_recency",
        "user_id_1_recency_-1",
    }


@pytest.mark.parametrize("words", [["rare"], ["rare", "common"], ["common"]])
async def test_a_search_reads_by_word_by_id_and_by_recency(
    database: AsyncIOMotorDatabase, queries: Queries, words: list[str]
) -> None:
    searching = Searching(MongoSessionStore(database), MongoTerms(database), few=50)

    page = await searching.page(USER, [Asked(word) for word in words], 20, None, deleted=False)

    assert len(page) == (1 if "rare" in words else 20)
    assert queries.given <= (2 + len(words) if "rare" in words else 3 * 50)
    assert await _indexes(database, queries) <= {
        *("search_terms_k", "k_1", "sessions_user_id_recency", "user_id_1_recency_-1"),
        *_IDS,
    }


@pytest.mark.parametrize(("start", "given"), [("rar", 1 + 1), ("comm", 25 + 2 * 2 * 20)])
async def test_the_beginning_of_a_word_is_read_by_a_range_of_words(
    database: AsyncIOMotorDatabase, queries: Queries, start: str, given: int
) -> None:
    searching = Searching(MongoSessionStore(database), MongoTerms(database), few=50)

    page = await searching.page(USER, [Asked(start, begun=True)], 20, None, deleted=False)

    assert len(page) == (1 if start == "rar" else 20)
    assert queries.given <= given
    assert await _indexes(database, queries) <= {
        *("search_terms_k", "k_1", "sessions_user_id_recency", "user_id_1_recency_-1"),
        *_IDS,
    }


_IDS = {"_id_", "messages_id", "sessions_id", "search_terms_id"}
