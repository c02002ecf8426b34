"""Forks, trees and imports, on a real history service."""

import pytest
from nats.aio.client import Client

from shared.contracts import session_questions as asked
from shared.contracts.history import (
    CreateSession,
    ForkSession,
    GetSession,
    ListSessions,
    ReadTree,
    Session,
    SessionHeadQuery,
    SessionReply,
    StoredMessage,
)
from shared.contracts.ids import MessageId, SessionId
from shared.contracts.imports import ImportSession
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import NOON, SESSION, USER, Turn
from tests.fakes.history.running import (
    answer,
    ask,
    refusal,
    say,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

NEW = SessionId("00000000-0000-7000-8000-00000000000f")
GET = GetSession(user_id=USER, session_id=SESSION)


async def test_a_fork_goes_on_apart_from_its_session(service: JetStream, client: Client) -> None:
    command = CreateSession(user_id=USER, session_id=SESSION, title="Birds", model="demo")
    await answer(client, asked.CREATE_SESSION, command)
    first = Turn()
    await say(service, client, first, first.next())
    fork = ForkSession(
        user_id=USER, session_id=SESSION, message_id=first.answer, new_session_id=NEW
    )

    made = (await answer(client, asked.FORK_SESSION, fork)).session

    assert made is not None
    assert (made.title, made.model, made.message_count) == ("Birds (fork)", "demo", 2)
    assert (await answer(client, asked.FORK_SESSION, fork)).session == made
    query = SessionHeadQuery(user_id=USER, session_id=NEW)
    head = await answer(client, asked.SESSION_HEAD, query)
    assert head.leaf is not None
    turn = Turn(head.turn + 1, parent_id=head.leaf.id, depth=head.leaf.depth + 1, session_id=NEW)
    await say(service, client, turn)
    detail = await answer(
        client,
        asked.GET_SESSION,
        GetSession(user_id=USER, session_id=NEW, after_completion=turn.completion_id),
    )
    assert [message.content for message in detail.messages][:2] == [first.text, "Answer 1"]
    assert [message.id for message in detail.messages][2:] == [turn.user_message, turn.answer]
    assert len((await answer(client, asked.GET_SESSION, GET)).messages) == 4
    strange = fork.model_copy(update={"message_id": turn.answer})
    assert (await refusal(client, asked.FORK_SESSION, strange)).code == "message_not_found"


async def test_a_tree_that_was_read_is_imported_whole(service: JetStream, client: Client) -> None:
    messages = [
        StoredMessage(
            id=MessageId(f"m{number}"),
            role="user" if number % 2 else "assistant",
            content=f"Text {number}",
            created_at=NOON,
            parent_id=MessageId(f"m{number - 1}") if number > 1 else None,
            depth=number,
        )
        for number in range(1, 1201)
    ]
    command = ImportSession(user_id=USER, session_id=NEW, title="Long", messages=messages)

    async def imported() -> Session | None:
        # On a busy machine it takes longer than a question may: asked again, it is joined.
        return (await ask(client, asked.IMPORT_SESSION.name, command, SessionReply)).session

    made = await eventually(imported, within=60)

    assert made is not None
    assert made.message_count == 1200
    tree: list[StoredMessage] = []
    query = ReadTree(user_id=USER, session_id=NEW)
    while True:
        page = await answer(client, asked.READ_TREE, query)
        tree += page.messages
        if page.next_cursor is None:
            break
        query = query.model_copy(update={"cursor": page.next_cursor})
    assert [message.content for message in tree] == [message.content for message in messages]
    assert made.active_leaf == tree[-1].id
    search = ListSessions(user_id=USER, search="long 1200")
    found = await answer(client, asked.LIST_SESSIONS, search)
    assert [session.id for session in found.sessions] == [NEW]
    broken = command.model_copy(update={"messages": messages[1:], "session_id": SESSION})
    failure = await refusal(client, asked.IMPORT_SESSION, broken)
    assert (failure.code, failure.param) == ("invalid_request", "messages[0].parent_id")
