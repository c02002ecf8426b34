"""Usage and counts from the history service, on real servers."""

from datetime import date

import pytest
from nats.aio.client import Client

from shared.contracts import session_questions as asked
from shared.contracts.history import CreateSession, DeleteSession, SessionReply
from shared.contracts.ids import SessionId
from shared.contracts.usage import (
    COUNTS,
    USAGE,
    Counts,
    CountsQuery,
    UsageQuery,
    UsageReply,
)
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import OTHER, SESSION, USER, Turn, stateless
from tests.fakes.history.running import ask, publish
from tests.support.mongo_server import MongoServer

pytestmark = pytest.mark.integration

MARCH = UsageQuery(user_id=USER, first=date(2026, 3, 1), last=date(2026, 3, 31))


async def test_usage_counts_what_has_just_been_completed_of_this_user_alone(
    service: JetStream, client: Client
) -> None:
    reply = UsageReply()
    for number in range(1, 11):
        await publish(service, stateless(number), stateless(number, user_id=OTHER))
        reply = await ask(client, USAGE.name, MARCH, UsageReply)
        assert reply.whole is not None
        assert (reply.whole.requests, reply.whole.total_tokens) == (number, 10 * number)

    (row,) = reply.rows
    assert row.key == "2026-03-01"
    assert row.models == {"demo": (70, 30)}
    assert (row.first_token_ms_mean, row.first_token_ms_p95) == (80, 80)


async def test_counts_are_of_what_is_not_deleted(service: JetStream, client: Client) -> None:
    gone = SessionId("00000000-0000-7000-8000-000000000002")
    for session_id in (SESSION, gone):
        create = CreateSession(user_id=USER, session_id=session_id)
        await ask(client, asked.CREATE_SESSION.name, create, SessionReply)
        turn = Turn(session_id=session_id)
        await publish(service, turn.accepted(), turn.completed())
    mine = CountsQuery(user_id=USER)
    assert await ask(client, COUNTS.name, mine, Counts) == Counts(sessions=2, messages=4)

    delete = DeleteSession(user_id=USER, session_id=gone)
    await ask(client, asked.DELETE_SESSION.name, delete, SessionReply)

    assert await ask(client, COUNTS.name, mine, Counts) == Counts(sessions=1, messages=2)
    assert await ask(client, COUNTS.name, CountsQuery(user_id=OTHER), Counts) == Counts()


@pytest.mark.parametrize(
    "days",
    [(date(2026, 3, 2), date(2026, 3, 1)), (date(2024, 1, 1), date(2026, 1, 1))],
)
async def test_impossible_days_are_an_invalid_request(
    service: JetStream, client: Client, days: tuple[date, date]
) -> None:
    query = UsageQuery(user_id=USER, first=days[0], last=days[1])
    reply = await ask(client, USAGE.name, query, UsageReply)

    assert reply.error is not None
    assert reply.error.code == "invalid_request"


@pytest.mark.slow
async def test_a_database_that_is_away_is_said_in_time(
    service: JetStream, client: Client, mongo: MongoServer
) -> None:
    mongo.kill()
    reply = await ask(client, USAGE.name, MARCH, UsageReply, timeout=5)

    assert reply.error is not None
    assert reply.error.code == "history_unavailable"
