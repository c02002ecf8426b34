"""Sessions: what was asked and answered is there, at once and exactly once."""

import json
import uuid
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e


async def new_session(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    reply = await http.post("/api/chat/sessions/", json=body)
    assert reply.status_code == 201, reply.text
    created: dict[str, Any] = reply.json()
    return created


async def say(
    http: httpx.AsyncClient, session: str, messages: list[dict[str, str]], **more: object
) -> str:
    """One turn, streamed to ``[DONE]``; gives the answer's text."""
    body = {"model": "demo", "messages": messages, "sessionId": session, "stream": True, **more}
    async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = [line async for line in reply.aiter_lines() if line.startswith("data: ")]
    assert reply.status_code == 200, lines
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line[6:]) for line in lines[:-1]]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)


async def get(http: httpx.AsyncClient, session: str) -> dict[str, Any]:
    reply = await http.get(f"/api/chat/sessions/{session}/")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": f"[demo tps=0] {text}"}


async def test_a_get_after_done_shows_the_turn_and_the_first_message_titles_it(
    http: httpx.AsyncClient,
) -> None:
    session = (await new_session(http))["id"]
    question = {"role": "user", "content": "How do I use Python decorators in practice?"}

    answer = await say(http, session, [question])

    found = await get(http, session)
    assert found["title"] == "How do I use Python..."
    assert [m["role"] for m in found["messages"]] == ["user", "assistant"]
    assert found["messages"][0]["content"] == question["content"]
    assert found["messages"][1]["content"] == answer
    assert {"id", "role", "content", "createdAt"} <= set(found["messages"][0])


async def test_a_list_after_done_counts_the_turn_and_puts_it_first(
    http: httpx.AsyncClient,
) -> None:
    first, second = (await new_session(http))["id"], (await new_session(http))["id"]
    await say(http, first, [user("hello")])

    sessions = (await http.get("/api/chat/sessions/")).json()["sessions"]

    assert [s["id"] for s in sessions[:2]] == [first, second]
    assert sessions[0]["messageCount"] == 2
    assert set(sessions[0]) >= {"id", "title", "createdAt", "updatedAt", "messageCount"}
    assert sessions[0]["updatedAt"] > sessions[0]["createdAt"]


async def test_a_change_after_done_answers_with_the_turn(http: httpx.AsyncClient) -> None:
    for number in range(8):
        session = (await new_session(http))["id"]
        await say(http, session, [user("Hello there")])

        method = ("PATCH", "PUT")[number % 2]
        reply = await http.request(
            method, f"/api/chat/sessions/{session}/", json={"title": f"Change {number}"}
        )

        assert reply.json()["messageCount"] == 2
        assert reply.json()["activeLeaf"] is not None


async def test_a_second_turn_stores_only_what_is_new(http: httpx.AsyncClient) -> None:
    session = (await new_session(http))["id"]
    one = await say(http, session, [user("one")])
    context = [user("one"), {"role": "assistant", "content": one}, user("two")]
    await say(http, session, context)

    messages = (await get(http, session))["messages"]

    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant"]
    assert [m["content"] for m in messages][:3] == [m["content"] for m in context]


async def test_sending_the_last_question_again_is_a_regenerate(http: httpx.AsyncClient) -> None:
    session = (await new_session(http))["id"]
    await say(http, session, [user("again?")], seed=1)
    second = await say(http, session, [user("again?")], seed=2)

    messages = (await get(http, session))["messages"]

    assert [m["role"] for m in messages] == ["user", "assistant"]
    assert messages[1]["content"] == second


async def test_a_title_is_put_and_moves_updated_at(http: httpx.AsyncClient) -> None:
    session = await new_session(http, title="Before")

    reply = await http.put(f"/api/chat/sessions/{session['id']}/", json={"title": "After"})

    assert reply.status_code == 200
    assert reply.json()["title"] == "After"
    assert reply.json()["updatedAt"] > session["updatedAt"]
    await say(http, session["id"], [user("a first message does not take a person's title away")])
    assert (await get(http, session["id"]))["title"] == "After"


async def test_a_title_over_255_characters_is_refused(http: httpx.AsyncClient) -> None:
    session = await new_session(http, title="Short")

    reply = await http.put(f"/api/chat/sessions/{session['id']}/", json={"title": "x" * 256})

    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert (await get(http, session["id"]))["title"] == "Short"


async def test_a_deleted_session_is_gone_from_every_view(http: httpx.AsyncClient) -> None:
    session = (await new_session(http))["id"]

    assert (await http.delete(f"/api/chat/sessions/{session}/")).status_code == 204

    assert (await http.get(f"/api/chat/sessions/{session}/")).status_code == 404
    listed = (await http.get("/api/chat/sessions/")).json()["sessions"]
    assert session not in [s["id"] for s in listed]
    reply = await http.post(
        "/v1/chat/completions",
        json={"model": "demo", "messages": [user("x")], "sessionId": session},
    )
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "session_not_found"


async def test_pages_of_the_list_join_without_gap_or_repeat(http: httpx.AsyncClient) -> None:
    mine = [(await new_session(http, title=f"page {n}"))["id"] for n in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/api/chat/sessions/", params=query)).json()
        seen += [s["id"] for s in page["sessions"]]
        cursor = page.get("nextCursor")
        if not cursor:
            break

    assert len(seen) == len(set(seen))
    assert [s for s in seen if s in mine] == mine[::-1]


async def test_unknown_and_malformed_sessions_are_told_apart_from_nothing_else(
    http: httpx.AsyncClient,
) -> None:
    unknown = await http.get(f"/api/chat/sessions/{uuid.uuid4()}/")
    malformed = await http.get("/api/chat/sessions/not-a-uuid/")

    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "session_not_found"
    assert malformed.status_code == 400
    assert set(malformed.json()["error"]) == {"message", "type", "param", "code"}
