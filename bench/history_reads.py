"""How long history takes to list, page and search beside a session of 10,000 messages.

``python bench/history_reads.py [--messages N] [--sessions N] [--rounds N] [--bound MS]
[--url mongodb://...]``:
without ``--url`` it starts the embedded server in a directory of its own. With one, it empties the
collections of the database ``parley_bench`` there, before and after.

It prints a table: operation, p50 and p95 in milliseconds over all rounds, documents that the
database gave for one of them, and the indexes that served its queries, as ``explain`` says. The
operations are those of the service, without NATS in front of them. With a bound, the exit code is
1 if the p95 of any is above it, and the last line names those.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from services.history.adapters.mongo_client import (
    MESSAGES,
    SESSIONS,
    TERMS,
    Database,
    create_indexes,
)
from services.history.adapters.mongo_messages import MongoMessageStore
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_terms import MongoTerms
from services.history.adapters.mongo_turns import MongoTurnStore
from services.history.freshness import Freshness
from services.history.news import News
from services.history.reading import Reading
from services.history.recorder import Recorder
from services.history.records import MessageRecord, SessionRecord
from services.history.searching import Searching
from services.history.sessions import Sessions
from services.history.tree_reading import TreeReading
from services.history.words import said_words
from shared.clock import utc_now
from shared.contracts.history import GetSession, ListSessions, ReadTree
from shared.contracts.ids import MessageId, SessionId, UserId
from tests.fakes.history.log import MemoryLog
from tests.fakes.history.told import Told
from tests.support.found_by import Queries, indexes_of
from tests.support.mongo_server import MongoServer

USER = UserId("bench")
LONG = SessionId("00000000-0000-7000-8000-000000000000")
BEGIN = 1_772_366_400_000
WORDS = [f"word{number}" for number in range(5000)]


def main() -> None:
    """Measure, and print."""
    options = _options()
    with _server(options.url) as url:
        slow = asyncio.run(_measure(url, options))
    if slow:
        sys.exit(f"p95 above {options.bound:g} ms: {'; '.join(slow)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--bound", type=float, metavar="MS")
    parser.add_argument("--url")
    return parser.parse_args()


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as directory, MongoServer(Path(directory)) as server:
        yield server.url


async def _measure(url: str, options: argparse.Namespace) -> list[str]:
    """Gives the operations that are slower than the bound."""
    queries = Queries()
    client = queries.client(url)
    database = client["parley_bench"]
    await _empty(database)
    await create_indexes(database)
    begin = perf_counter()
    await _fill(database, options.messages, options.sessions)
    _say(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    _say(
        f"{options.messages} messages in one session, {options.sessions} sessions beside it, "
        f"stored in {perf_counter() - begin:.0f} s; {options.rounds} rounds"
    )
    _say(f"{'operation':<38}{'p50 ms':>8}{'p95 ms':>8}{'given':>7}  indexes")
    slow = []
    for name, work in _operations(database, options).items():
        times = []
        for _ in range(options.rounds):
            queries.forget()
            begin = perf_counter()
            await work()
            times.append((perf_counter() - begin) * 1000)
        given, asked = queries.given, list(queries.asked)
        times.sort()
        middle, late = times[len(times) // 2], times[int(len(times) * 0.95)]
        if options.bound is not None and late > options.bound:
            slow.append(f"{name} ({late:.1f})")
        served = sorted(set(await indexes_of(database, asked)))
        _say(f"{name:<38}{middle:>8.1f}{late:>8.1f}{given:>7}  {', '.join(served)}")
    await _empty(database)
    client.close()
    return slow


def _operations(
    database: Database, options: argparse.Namespace
) -> dict[str, Callable[[], Awaitable[object]]]:
    turns, store = MongoTurnStore(database), MongoSessionStore(database)
    messages, terms = MongoMessageStore(database), MongoTerms(database)
    freshness = Freshness(turns, MemoryLog(), Recorder(turns), holding=lambda: False, wait=1)
    sessions = Sessions(store, turns, Searching(store, terms), freshness, News(Told()), now=utc_now)
    reading = Reading(store, messages, freshness)
    trees = TreeReading(store, messages, freshness)
    middle = options.messages // 2

    def detail(**asked: object) -> Callable[[], Awaitable[object]]:
        query = GetSession(user_id=USER, session_id=LONG).model_copy(update=asked)
        return lambda: reading.detail(query)

    def page(**asked: object) -> Callable[[], Awaitable[object]]:
        query = ListSessions(user_id=USER).model_copy(update=asked)
        return lambda: sessions.page(query)

    return {
        "list of 50 sessions": page(),
        "newest 50 messages": detail(limit=50),
        "newest 200 messages": detail(),
        "200 messages before the middle": detail(before_depth=middle),
        "200 messages after the middle": detail(after_depth=middle),
        "first 200 messages": detail(after_depth=0),
        "search: a word of one session": page(search="needle"),
        "search: a word of every session": page(search="word1"),
        "search: a word of each kind": page(search="word1 needle"),
        "search: two words of many sessions": page(search="word1 word2"),
        "search: a beginning of common words": page(search="wor"),
        "search: a beginning of a rare word": page(search="need"),
        "search: a word of no session": page(search="nowhere"),
        "page of the whole tree": lambda: trees.page(ReadTree(user_id=USER, session_id=LONG)),
    }


async def _fill(database: Database, messages: int, sessions: int) -> None:
    turns, store = MongoTurnStore(database), MongoSessionStore(database)
    dice = Random(7)
    for number in range(sessions + 1):
        session_id = SessionId(f"00000000-0000-7000-8000-{number:012d}")
        at = BEGIN + number
        await store.create(
            SessionRecord(
                id=session_id,
                user_id=USER,
                created_at=at,
                updated_at=at,
                placed=True,
                turn=messages // 2,
                leaf=f"{messages // 2:010d}|1|{_id(messages)}" if session_id == LONG else None,
            )
        )
        words = {"word1", *(["word2"] if number % 2 else []), *dice.sample(WORDS, 20)}
        await turns.add_terms(USER, session_id, words, said=True)
    await turns.add_terms(USER, LONG, ["needle"], said=True)
    for first in range(1, messages + 1, 100):
        batch = [_message(dice, depth) for depth in range(first, min(first + 100, messages + 1))]
        await turns.add_messages(batch)
        found_by = {word for it in batch for word in said_words(it.role, it.content)}
        await turns.add_terms(USER, LONG, found_by, said=True)


def _message(dice: Random, depth: int) -> MessageRecord:
    text = " ".join(dice.choices(WORDS, k=60))
    return MessageRecord(
        id=_id(depth),
        session_id=LONG,
        user_id=USER,
        turn=(depth + 1) // 2,
        depth=depth,
        parent_id=_id(depth - 1) if depth > 1 else None,
        role="user" if depth % 2 else "assistant",
        created_at=BEGIN + depth,
        size=len(text),
        content=text,
    )


def _id(depth: int) -> MessageId:
    return MessageId(f"00000000-0000-5000-8000-{depth:012d}")


async def _empty(database: Any) -> None:  # noqa: ANN401 - motor's own
    for name in (SESSIONS, MESSAGES, TERMS):
        await database.drop_collection(name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
