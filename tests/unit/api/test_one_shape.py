"""A session, a message and a page look alike wherever they are shown."""

import json

import pytest

from services.api.completions.answers import to_message_body, to_session_body
from services.api.schemas.sockets import SessionChanged, UserMessage
from services.api.sockets.outlet import Outlet
from shared.contracts.history import Session, StoredMessage
from shared.contracts.ids import MessageId, new_completion_id, new_session_id
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = ["/api/chat/sessions/", "/ai-chat/api/sessions/"]


@pytest.mark.parametrize("sessions", SESSIONS)
async def test_a_session_has_the_same_fields_wherever_it_is_shown(sessions: str) -> None:
    async with client_of(FakeWorld()) as client:
        created = (await client.post(sessions, json={})).json()
        path = f"{sessions}{created['id']}/"
        read = (await client.get(path)).json()
        listed = (await client.get(sessions)).json()["sessions"][0]
        changed = (await client.patch(path, json={"title": "x"})).json()
    assert set(created) == set(listed) == set(changed)
    assert {name: read[name] for name in created} == created
    assert created["model"] is None


@pytest.mark.parametrize("sessions", SESSIONS)
async def test_the_ends_of_a_page_are_null_where_there_is_no_more(sessions: str) -> None:
    async with client_of(FakeWorld()) as client:
        created = (await client.post(sessions, json={})).json()
        page = (await client.get(f"{sessions}{created['id']}/messages/")).json()
        whole = (await client.get(f"{sessions}{created['id']}/")).json()
    assert list(page.values()) == [[], None, None]
    next_cursor, _previous = list(page)[1:]
    assert whole[next_cursor] is None


async def test_the_first_message_says_that_it_has_no_parent() -> None:
    world = FakeWorld()
    world.answer("Hello")
    async with client_of(world) as client:
        created = (await client.post(SESSIONS[0], json={"model": "demo"})).json()
        turn = await client.post(
            f"{SESSIONS[0]}{created['id']}/send_message/", json={"message": "x"}
        )
    question = turn.json()["userMessage"]
    assert question["parentId"] is None
    assert "status" not in question


async def test_sockets_show_the_same_fields() -> None:
    outlet = Outlet("one", full=True, clock=lambda: 0.0)
    session = Session(
        id=new_session_id(), title="x", created_at=NOON, updated_at=NOON, message_count=0
    )
    message = StoredMessage(id=MessageId("m"), role="user", content="x", created_at=NOON, depth=1)
    completion_id = new_completion_id()
    outlet.send(SessionChanged(type="session_created", session=to_session_body(session)))
    outlet.send(UserMessage(message=to_message_body(message), completion_id=completion_id))
    shown, said = [json.loads(text) for text in await outlet.take(0.0)]
    assert shown["session"]["active_leaf"] is None
    assert shown["session"]["model"] is None
    assert said["message"]["parent_id"] is None
    assert "finish_reason" not in said["message"]
