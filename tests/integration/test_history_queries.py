"""The history service's answers on ``chat.history.*``, on real servers."""

import asyncio
import json
import time

import nats.errors
import pytest
from nats.aio.client import Client

from shared.contracts import history, streams, subjects
from shared.contracts import session_questions as asked
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import OTHER, SESSION, USER, Turn
from tests.fakes.history.running import (
    ask,
    history_settings,
    publish,
    running_history,
)
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

CREATE = CreateSession(user_id=USER, session_id=SESSION)
GET = GetSession(user_id=USER, session_id=SESSION)


async def test_a_session_is_created_titled_renamed_listed_and_deleted(
    service: JetStream, client: Client
) -> None:
    created = await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)
    assert created.session is not None
    assert created.session.title == history.DEFAULT_TITLE
    turn = Turn()
    await publish(service, turn.accepted(), turn.completed())

    (listed,) = (
        await ask(client, asked.LIST_SESSIONS.name, ListSessions(user_id=USER), SessionPage)
    ).sessions
    assert (listed.title, listed.message_count) == (turn.text, 2)
    assert listed.updated_at >= created.session.updated_at

    rename = UpdateSession(user_id=USER, session_id=SESSION, title="Mine")
    renamed = await ask(client, asked.UPDATE_SESSION.name, rename, SessionReply)
    assert renamed.session is not None
    assert renamed.session.title == "Mine"
    assert renamed.session.updated_at > listed.updated_at

    gone = DeleteSession(user_id=USER, session_id=SESSION)
    assert (await ask(client, asked.DELETE_SESSION.name, gone, SessionReply)).error is None
    for operation, query in (
        (asked.GET_SESSION.name, GET),
        (asked.DELETE_SESSION.name, gone),
        (asked.UPDATE_SESSION.name, rename),
        (asked.SESSION_HEAD.name, SessionHeadQuery(user_id=USER, session_id=SESSION)),
        (asked.CREATE_SESSION.name, CREATE),
    ):
        reply = await ask(client, operation, query, history.Reply)
        assert reply.error is not None, operation
        assert reply.error.code == "session_not_found"


async def test_a_read_right_after_an_end_shows_the_turn(service: JetStream, client: Client) -> None:
    await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)
    turn = Turn()
    for count in range(2, 22, 2):
        await publish(service, turn.accepted(), turn.completed())
        query = GET.model_copy(update={"after_completion": turn.completion_id})
        detail = await ask(client, asked.GET_SESSION.name, query, SessionDetail)
        page = await ask(client, asked.LIST_SESSIONS.name, ListSessions(user_id=USER), SessionPage)

        assert len(detail.messages) == count
        assert detail.messages[-1].id == turn.answer
        assert page.sessions[0].message_count == count
        turn = turn.next()


async def test_a_read_of_an_end_that_the_consumer_never_gets_reads_the_event_itself(
    service: JetStream, client: Client
) -> None:
    await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)
    await service.api(f"CONSUMER.DELETE.{streams.EVENTS}.{streams.HISTORY_CONSUMER}")
    turn = Turn()
    await publish(service, turn.accepted(), turn.completed())

    query = SessionHeadQuery(user_id=USER, session_id=SESSION, after_completion=turn.completion_id)
    head = await ask(client, asked.SESSION_HEAD.name, query, SessionHead)

    assert head.turn == 1
    assert head.leaf is not None
    assert head.leaf.id == turn.answer
    assert head.last_user == turn.ref()


async def test_somebody_elses_session_does_not_exist(service: JetStream, client: Client) -> None:
    await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)

    query = GET.model_copy(update={"user_id": OTHER})
    reply = await ask(client, asked.GET_SESSION.name, query, SessionDetail)

    assert reply.error is not None
    assert reply.error.code == "session_not_found"
    mine = await ask(client, asked.LIST_SESSIONS.name, ListSessions(user_id=OTHER), SessionPage)
    assert mine.sessions == []


async def test_whatever_is_sent_to_any_operation_is_answered(
    service: JetStream, client: Client
) -> None:
    for operation in (asked.LIST_SESSIONS.name, asked.GET_SESSION.name, asked.SESSION_HEAD.name):
        for payload in (b"", b"\xff\xfe", b"[]", b'{"user_id": 7}'):
            headers = {"content-type": "application/json"} if payload else None
            message = await client.request(
                subjects.history(operation), payload, timeout=2, headers=headers
            )
            assert json.loads(message.data)["error"]["code"] == "invalid_request"


async def test_a_message_of_four_megabytes_is_delivered(service: JetStream, client: Client) -> None:
    await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)
    turn = Turn()
    await publish(service, turn.accepted(), turn.completed(text="é" * 2_000_000))

    query = GET.model_copy(update={"after_completion": turn.completion_id})
    detail = await ask(client, asked.GET_SESSION.name, query, SessionDetail)

    assert [message.content for message in detail.messages] == ["é" * 2_000_000]


@pytest.mark.slow
async def test_a_database_that_is_away_or_hangs_is_said_in_time_and_the_service_recovers(
    service: JetStream, client: Client, mongo: MongoServer
) -> None:
    await ask(client, asked.CREATE_SESSION.name, CREATE, SessionReply)
    healthy = await ask(client, asked.HEALTH.name, HealthQuery(), HistoryHealth)
    assert healthy.database_ok
    assert healthy.backlog == 0

    for harm, mend in ((mongo.freeze, mongo.thaw), (mongo.kill, mongo.start)):
        harm()
        begin = time.monotonic()
        rename = UpdateSession(user_id=USER, session_id=SESSION, title="Mine")
        reply, health = await asyncio.gather(
            ask(client, asked.UPDATE_SESSION.name, rename, SessionReply),
            ask(client, asked.HEALTH.name, HealthQuery(), HistoryHealth),
        )
        assert time.monotonic() - begin < 3
        assert reply.error is not None
        assert reply.error.code == "history_unavailable"
        assert not health.database_ok
        mend()
        assert (await ask(client, asked.GET_SESSION.name, GET, SessionDetail)).error is None


async def test_operations_have_no_responder_once_the_service_has_stopped(
    provisioned: JetStream, client: Client, nats_server: NatsServer, mongo: MongoServer
) -> None:
    async with running_history(history_settings(nats_server.url, mongo.url), client):
        pass

    with pytest.raises(nats.errors.NoRespondersError):
        await ask(client, asked.HEALTH.name, HealthQuery(), HistoryHealth)
