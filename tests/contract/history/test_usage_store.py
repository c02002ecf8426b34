"""What every store must say of usage, in memory and on each database."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    SESSIONS,
    USAGE,
    create_indexes,
    open_client,
)
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_turns import MongoTurnStore
from services.history.adapters.mongo_usage import MongoUsageStore
from services.history.ports import SessionStore, TurnStore
from services.history.records import Advance
from services.history.usage_ports import FirstToken, Tally, UsageStore, UsageSum
from shared.contracts.ids import CompletionId
from tests.fakes.history.conversation import OTHER, USER
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_usage import MemoryUsageStore
from tests.fakes.history.records import T0, opened, session, usage


@dataclass(frozen=True)
class Scene:
    """The store, and the ports that fill it."""

    usage: UsageStore
    turns: TurnStore
    sessions: SessionStore

    async def used(self, number: int, day: str, model: str = "demo", **changes: object) -> None:
        record = usage(
            id=CompletionId(f"chatcmpl-{number}"),
            day=day,
            model_used=model,
            day_model=f"{day}|{model}",
            **changes,
        )
        await self.turns.add_usage(record)


@pytest.fixture(params=["memory", "nx", "mongodb"])
async def scene(request: pytest.FixtureRequest) -> AsyncGenerator[Scene]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Scene(MemoryUsageStore(memory), memory, memory)
        return
    client = open_client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    for name in (COMPLETIONS, SESSIONS, USAGE):
        await database.drop_collection(name)
    await create_indexes(database)
    yield Scene(MongoUsageStore(database), MongoTurnStore(database), MongoSessionStore(database))
    client.close()


async def test_usage_is_summed_by_day_and_model(scene: Scene) -> None:
    await scene.used(1, "2026-03-01", prompt_tokens=10, completion_tokens=20, total_tokens=30)
    await scene.used(2, "2026-03-01", prompt_tokens=1, completion_tokens=2, total_tokens=3)
    await scene.used(3, "2026-03-01", "hf.co/a|b:Q4", estimated=True)
    await scene.used(4, "2026-03-02", estimated=True)
    await scene.used(5, "2026-03-02")

    sums = await scene.usage.sums(USER, "2026-03-01", "2026-03-02")

    assert sorted(sums) == [
        UsageSum("2026-03-01", "demo", 2, 11, 22, 33, 0),
        UsageSum("2026-03-01", "hf.co/a|b:Q4", 1, 1, 2, 3, 1),
        UsageSum("2026-03-02", "demo", 2, 2, 4, 6, 1),
    ]


async def test_only_the_days_asked_for_count_both_ends_included(scene: Scene) -> None:
    for number, day in enumerate(("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01")):
        await scene.used(number, day, first_token_ms=number)

    days = {part.day for part in await scene.usage.sums(USER, "2026-01-01", "2026-01-31")}
    tokens = await scene.usage.first_tokens(USER, "2026-01-01", "2026-01-31", 10)

    assert days == {"2026-01-01", "2026-01-31"}
    assert {token.day for token in tokens} == days
    assert await scene.usage.sums(USER, "2027-01-01", "2027-01-31") == []
    assert await scene.usage.first_tokens(USER, "2027-01-01", "2027-01-31", 10) == []


async def test_another_users_usage_is_never_in(scene: Scene) -> None:
    await scene.used(1, "2026-03-01", first_token_ms=1)
    await scene.used(2, "2026-03-01", first_token_ms=2, user_id=OTHER, estimated=True)
    await scene.sessions.create(session(1))
    await scene.sessions.create(session(2, user_id=OTHER))

    days = ("2026-03-01", "2026-03-01")
    assert await scene.usage.sums(USER, *days) == [UsageSum("2026-03-01", "demo", 1, 1, 2, 3, 0)]
    assert await scene.usage.first_tokens(USER, *days, 10) == [FirstToken(days[0], "demo", 1)]
    assert await scene.usage.tally(USER) == Tally(1, 0)


async def test_first_tokens_are_those_that_are_known_and_of_the_latest_days(scene: Scene) -> None:
    await scene.used(1, "2026-03-01", first_token_ms=100)
    await scene.used(2, "2026-03-03", "big", first_token_ms=300)
    await scene.used(3, "2026-03-02", first_token_ms=0)
    await scene.used(4, "2026-03-04")

    days = ("2026-03-01", "2026-03-31")
    assert sorted(await scene.usage.first_tokens(USER, *days, 2)) == [
        FirstToken("2026-03-02", "demo", 0),
        FirstToken("2026-03-03", "big", 300),
    ]
    assert len(await scene.usage.first_tokens(USER, *days, 10)) == 3


async def test_sessions_and_messages_that_are_not_deleted_are_counted(scene: Scene) -> None:
    assert await scene.usage.tally(USER) == Tally(0, 0)
    for number in (1, 2, 3):
        made = session(number)
        await scene.sessions.create(made)
        await scene.turns.advance(USER, made.id, Advance(turn=1, message_count=2 * number))
    await scene.sessions.delete(USER, session(2).id, T0)

    assert await scene.usage.tally(USER) == Tally(2, 8)


async def test_what_one_key_has_used_is_a_sum_of_its_own(scene: Scene) -> None:
    await scene.used(1, "2026-03-01", key_id="mine")
    await scene.used(2, "2026-03-01", key_id="another")
    await scene.used(3, "2026-03-01")
    await scene.used(4, "2026-03-01", user_id=OTHER, key_id="mine")

    days = ("2026-03-01", "2026-03-31")
    (part,) = await scene.usage.sums(USER, *days, key_id="mine")
    (whole,) = await scene.usage.sums(USER, *days)

    assert (part.requests, whole.requests) == (1, 3)
    assert await scene.usage.sums(USER, *days, key_id="none") == []


async def test_an_end_is_known_by_what_it_used_and_by_itself_to_its_user_alone(
    scene: Scene,
) -> None:
    names = [CompletionId(f"chatcmpl-{number}") for number in range(1, 8)]
    await scene.used(1, "2026-03-01")
    await scene.used(2, "2026-03-01", user_id=OTHER)
    await scene.turns.end_completion(names[2], USER, T0)
    await scene.turns.end_completion(names[3], OTHER, T0)
    await scene.used(5, "2026-03-01")
    await scene.turns.end_completion(names[4], USER, T0, rejected=True)
    await scene.turns.open_completion(opened(names[5]))

    assert await scene.usage.ended(USER, names) == {names[0], names[2], names[4]}
    assert await scene.usage.ended(USER, [names[0]]) == {names[0]}
    assert await scene.usage.ended(USER, []) == set()
