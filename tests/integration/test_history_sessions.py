"""What a gateway does with sessions, on a real history service: settings, branches, copies."""

from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from nats.aio.client import Client

from shared.contracts import session_questions as asked
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    RestoreSession,
    Session,
    SessionSettings,
    UpdateSession,
)
from shared.contracts.ids import MessageId, SessionId
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import OTHER, SESSION, USER, Turn
from tests.fakes.history.running import answer, publish, refusal, say
from tests.support.mongo_server import MongoServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

NEW = SessionId("00000000-0000-7000-8000-00000000000f")
GET = GetSession(user_id=USER, session_id=SESSION)


async def _begin(client: Client, **settings: Any) -> Session:  # noqa: ANN401 - of many types
    command = CreateSession(user_id=USER, session_id=SESSION, **settings)
    session = (await answer(client, asked.CREATE_SESSION, command)).session
    assert session is not None
    return session


async def _found(client: Client, search: str, **also: Any) -> list[SessionId]:  # noqa: ANN401
    query = ListSessions(user_id=USER, search=search, **also)
    return [session.id for session in (await answer(client, asked.LIST_SESSIONS, query)).sessions]


async def test_settings_are_kept_and_changed_by_whoever_knows_the_version(
    service: JetStream, client: Client
) -> None:
    made = await _begin(client, model="demo", temperature=0.5, tools=["search"], preset_id="p")
    change = UpdateSession(
        user_id=USER,
        session_id=SESSION,
        title="Mine",
        settings=SessionSettings(system_prompt="Be brief"),
        cleared=["tools"],
        version=made.version,
    )

    changed = (await answer(client, asked.UPDATE_SESSION, change)).session

    assert changed is not None
    assert (changed.title, changed.version, changed.preset_id) == ("Mine", 2, "p")
    assert (changed.model, changed.temperature, changed.tools) == ("demo", 0.5, None)
    assert changed.system_prompt == "Be brief"
    assert (await refusal(client, asked.UPDATE_SESSION, change)).code == "version_conflict"
    strange = change.model_copy(update={"cleared": ["title"], "version": None})
    assert (await refusal(client, asked.UPDATE_SESSION, strange)).code == "invalid_request"
    assert (await answer(client, asked.GET_SESSION, GET)).session == changed


async def test_a_deleted_session_is_listed_apart_and_comes_back(
    service: JetStream, client: Client
) -> None:
    await _begin(client, title="Birds")
    turn = Turn()
    await publish(service, turn.accepted())
    await answer(client, asked.DELETE_SESSION, DeleteSession(user_id=USER, session_id=SESSION))
    await publish(service, turn.completed())
    assert await _found(client, "birds") == []
    assert await _found(client, "birds", deleted=True) == [SESSION]

    restore = RestoreSession(user_id=USER, session_id=SESSION)
    foreign = restore.model_copy(update={"user_id": OTHER})
    assert (await refusal(client, asked.RESTORE_SESSION, foreign)).code == "session_not_found"
    back = (await answer(client, asked.RESTORE_SESSION, restore)).session

    assert back is not None
    assert back.deleted_at is None
    query = GET.model_copy(update={"after_completion": turn.completion_id})
    detail = await answer(client, asked.GET_SESSION, query)
    assert [message.id for message in detail.messages] == [turn.user_message, turn.answer]


async def test_words_of_titles_and_messages_find_a_session_that_has_them_all(
    service: JetStream, client: Client
) -> None:
    await _begin(client, title="My Birds")
    refused = Turn(2, text="About ostriches")
    await say(service, client, Turn(text="Where are parrots?"))
    await publish(service, refused.accepted(), refused.rejected())

    async def all_found() -> bool:
        return await _found(client, "BIRDS parrots answer") == [SESSION]

    await eventually(all_found)
    assert await _found(client, "birds finches") == []
    assert await _found(client, "ostriches") == []


async def test_branches_are_paged_both_ways_and_named_by_their_end(
    service: JetStream, client: Client
) -> None:
    await _begin(client)
    first = Turn()
    second = first.next()
    edited = Turn(3, text="Another question")
    await say(service, client, first, second, edited)

    old = await answer(client, asked.GET_SESSION, GET.model_copy(update={"leaf": second.answer}))
    assert [message.depth for message in old.messages] == [1, 2, 3, 4]
    assert old.messages[0].sibling_ids == [first.user_message, edited.user_message]
    assert old.session is not None
    assert old.session.active_leaf == edited.answer
    page = await answer(
        client,
        asked.GET_SESSION,
        GET.model_copy(update={"leaf": second.answer, "after_depth": 1, "limit": 2}),
    )
    assert [message.depth for message in page.messages] == [2, 3]
    assert (page.next_before_depth, page.next_after_depth) == (2, 3)
    unknown = GET.model_copy(update={"leaf": MessageId("never")})
    assert (await refusal(client, asked.GET_SESSION, unknown)).code == "message_not_found"


async def test_a_session_of_an_older_version_is_read_and_goes_on(
    service: JetStream, client: Client, mongo: MongoServer
) -> None:
    await _begin(client)
    first = Turn()
    second = first.next()
    await say(service, client, first, second)
    before = await answer(client, asked.GET_SESSION, GET)
    old: AsyncIOMotorClient = AsyncIOMotorClient(mongo.url)
    await old["parley"]["messages"].update_many({}, {"$unset": {"place": "", "order": ""}})
    await old["parley"]["sessions"].update_many({}, {"$unset": {"version": ""}})
    old.close()

    third = second.next("On and on")
    await say(service, client, third)
    after = await answer(client, asked.GET_SESSION, GET)

    assert [message.id for message in after.messages][:4] == [it.id for it in before.messages]
    assert after.messages[-1].id == third.answer
    change = UpdateSession(user_id=USER, session_id=SESSION, title="Mine", version=1)
    changed = (await answer(client, asked.UPDATE_SESSION, change)).session
    assert changed is not None
    assert changed.version == 2
