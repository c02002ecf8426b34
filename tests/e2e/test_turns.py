"""Turns whose context the server builds, their branches, and copies of sessions: on both faces."""

import base64
import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

SESSIONS = "/ai-chat/api/sessions/"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def new_session(http: httpx.AsyncClient, **body: object) -> str:
    reply = await http.post(SESSIONS, json={"model": "demo", **body})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


async def said(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    turn: dict[str, Any] = reply.json()
    return turn


async def send(http: httpx.AsyncClient, session: str, text: str, **more: object) -> dict[str, Any]:
    body = {"message": f"{text} [demo tps=0 tokens=6]", **more}
    return await said(await http.post(f"{SESSIONS}{session}/send_message/", json=body))


async def branch(http: httpx.AsyncClient, session: str, **query: str) -> list[dict[str, Any]]:
    reply = await http.get(f"{SESSIONS}{session}/messages/", params=query)
    assert reply.status_code == 200, reply.text
    messages: list[dict[str, Any]] = reply.json()["messages"]
    return messages


async def test_each_turn_follows_the_one_before_and_camel_case_says_the_same(
    http: httpx.AsyncClient,
) -> None:
    session = await new_session(http, systemPrompt="Be brief.", temperature=0)
    first = await send(http, session, "one")
    camel = await said(
        await http.post(
            f"/api/chat/sessions/{session}/send_message/",
            json={"message": "two [demo tps=0 tokens=6]"},
        )
    )
    assert camel["userMessage"]["parentId"] == first["ai_message"]["id"]
    assert camel["usage"]["promptTokens"] > first["usage"]["prompt_tokens"]
    ids = [one["id"] for one in await branch(http, session)]
    assert ids == [
        first["user_message"]["id"],
        first["ai_message"]["id"],
        camel["userMessage"]["id"],
        camel["aiMessage"]["id"],
    ]


async def test_a_session_full_of_pictures_goes_on_with_the_newest_of_them(
    http: httpx.AsyncClient,
) -> None:
    # An image is some hundred tokens: these fit the window, but not one message of the broker's.
    session = await new_session(http, model="demo-vision")
    image = "data:image/png;base64," + base64.b64encode(b"\x89PNG".ljust(9 * 2**18)).decode()
    words = {"type": "text", "text": "Look [demo tps=0 tokens=6]"}
    message = [words, {"type": "image_url", "image_url": {"url": image}}]
    path = f"{SESSIONS}{session}/send_message/"
    turns = [await said(await http.post(path, json={"message": message})) for _ in range(4)]
    assert [turn.get("context_omitted", 0) for turn in turns] == [0, 0, 2, 4]
    after = await send(http, session, "And in words?")
    assert after["context_omitted"] == 4
    newest = await branch(http, session, limit="2")
    assert newest[-1]["context_omitted"] == 4


async def test_a_streamed_turn_ends_as_a_completion_does_and_is_there_at_once(
    http: httpx.AsyncClient,
) -> None:
    session = await new_session(http)
    body = {"message": "hi [demo tps=0 tokens=6]", "stream": True}
    async with http.stream("POST", f"{SESSIONS}{session}/send_message/", json=body) as reply:
        lines = [line async for line in reply.aiter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    text = "".join(
        json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1]
    )
    asked, answered = await branch(http, session)
    assert (asked["id"], answered["id"]) == (
        reply.headers["x-user-message-id"],
        reply.headers["x-message-id"],
    )
    assert answered["content"] == text


async def test_former_answers_and_wordings_stay_as_branches(http: httpx.AsyncClient) -> None:
    session = await new_session(http)
    first = await send(http, session, "one")
    question, answer = first["user_message"]["id"], first["ai_message"]["id"]
    path = f"{SESSIONS}{session}/messages"

    again = await said(await http.post(f"{path}/{answer}/regenerate/"))
    anew = await said(
        await http.patch(f"{path}/{question}/", json={"message": "other [demo tps=0 tokens=6]"})
    )

    assert again["ai_message"]["parent_id"] == question
    assert "user_message" not in again
    shown = await branch(http, session)
    assert [one["id"] for one in shown] == [anew["user_message"]["id"], anew["ai_message"]["id"]]
    assert shown[0]["sibling_ids"] == [question, anew["user_message"]["id"]]
    one = await http.get(f"{path}/{question}/")
    assert one.json()["sibling_ids"] == shown[0]["sibling_ids"]
    assert one.json()["content"].startswith("one ")
    former = await branch(http, session, leaf=answer)
    assert [one["id"] for one in former] == [question, answer]
    assert former[1]["sibling_ids"] == [answer, again["ai_message"]["id"]]
    # And on from the former one.
    more = await send(http, session, "more", parent_id=answer)
    assert more["user_message"]["parent_id"] == answer
    found = (await http.get(f"{SESSIONS}{session}/")).json()
    assert found["active_leaf"] == more["ai_message"]["id"]


async def test_pages_go_both_ways(http: httpx.AsyncClient) -> None:
    session = await new_session(http)
    for number in range(3):
        await send(http, session, str(number))
    path = f"{SESSIONS}{session}/messages/"
    newest = (await http.get(path, params={"limit": 2})).json()
    older = (await http.get(path, params={"limit": 2, "cursor": newest["next_cursor"]})).json()
    oldest = (await http.get(path, params={"limit": 2, "cursor": older["next_cursor"]})).json()
    assert oldest["next_cursor"] is None
    depths = [[one["depth"] for one in page["messages"]] for page in (newest, older, oldest)]
    assert depths == [[5, 6], [3, 4], [1, 2]]
    first = (await http.get(path, params={"limit": 2, "cursor": "after-0"})).json()
    assert first["messages"] == oldest["messages"]
    newer = (await http.get(path, params={"limit": 2, "cursor": first["previous_cursor"]})).json()
    # The cursor of a page names the branch that it was read from.
    leaf = newest["messages"][-1]["id"]
    assert ([one["depth"] for one in newer["messages"]], newer["previous_cursor"]) == (
        [3, 4],
        f"after-4-{leaf}",
    )


async def test_a_fork_an_export_and_an_import_hold_what_was_said(http: httpx.AsyncClient) -> None:
    session = await new_session(http, title="Mine", temperature=0.5)
    first = await send(http, session, "one")
    await send(http, session, "two")
    fork = await http.post(
        f"{SESSIONS}{session}/fork/", json={"message_id": first["ai_message"]["id"]}
    )
    assert (fork.status_code, fork.json()["message_count"]) == (201, 2)
    assert fork.json()["temperature"] == 0.5
    whole = await http.post(f"{SESSIONS}{session}/fork/")
    assert (whole.status_code, whole.json()["message_count"]) == (201, 4)
    exported = await http.get(f"{SESSIONS}{session}/export/")
    assert exported.headers["content-disposition"] == (
        "attachment; filename=\"Mine.json\"; filename*=UTF-8''Mine.json"
    )
    imported = await http.post(f"{SESSIONS}import/", content=exported.content)
    assert imported.status_code == 201, imported.text
    for copy, count in ((fork.json()["id"], 2), (imported.json()["id"], 4)):
        shown = await branch(http, copy)
        original = (await branch(http, session))[:count]
        assert [one["content"] for one in shown] == [one["content"] for one in original]
        assert not {one["id"] for one in shown} & {one["id"] for one in original}
        went_on = await send(http, copy, "go on")
        assert went_on["user_message"]["parent_id"] == shown[-1]["id"]
    text = (await http.get(f"{SESSIONS}{session}/export/", params={"format": "markdown"})).text
    assert text.startswith("# Mine\n")
    assert first["ai_message"]["content"] in text


async def test_a_deleted_session_comes_back_and_is_found_by_its_words(
    http: httpx.AsyncClient,
) -> None:
    session = await new_session(http, title="Quokka notes")
    await send(http, session, "Tell me of wombats")

    async def found(**query: str) -> bool:
        page = (await http.get(SESSIONS, params=query)).json()
        return session in [one["id"] for one in page["sessions"]]

    assert await found(search="quokka WOMBATS")
    assert not await found(search="quokka koala")
    assert (await http.delete(f"{SESSIONS}{session}/")).status_code == 204
    assert not await found(search="quokka")
    assert await found(deleted="true")
    assert (await http.get(f"{SESSIONS}{session}/messages/")).status_code == 404
    assert (await http.post(f"{SESSIONS}{session}/restore/")).status_code == 200
    assert await found(search="wombats")
    assert len(await branch(http, session)) == 2


async def test_a_change_with_an_old_version_is_refused(http: httpx.AsyncClient) -> None:
    session = await new_session(http, temperature=1)
    path = f"{SESSIONS}{session}/"
    changed = await http.patch(path, json={"top_p": 0.5, "temperature": None, "version": 1})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (changed.json()["top_p"], changed.json()["temperature"]) == (0.5, None)
    for headers, body, status in (({}, {"version": 1}, 409), ({"If-Match": '"1"'}, {}, 412)):
        refused = await http.put(path, json={"title": "x", **body}, headers=headers)
        assert refused.status_code == status
        assert refused.json()["error"]["code"] == "version_conflict"
    kept = await http.put(path, json={"title": "x"}, headers={"If-Match": '"2"'})
    assert kept.status_code == 200


async def test_another_answer_is_never_to_an_empty_prompt(http: httpx.AsyncClient) -> None:
    session = await new_session(http)
    long = "word " * 2500 + "[demo tps=0 tokens=6]"
    first = await send(http, session, long)
    path = f"{SESSIONS}{session}/messages/{first['ai_message']['id']}/regenerate/"
    refused = await http.post(path, json={"model": "demo-small"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def exported(created_at: str) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "content": "x", "created_at": created_at}
    return {"format": "parley-session", "messages": [message]}


async def test_bad_turns_are_refused_and_leave_nothing(http: httpx.AsyncClient) -> None:
    session = await new_session(http)
    path = f"{SESSIONS}{session}"
    cases = [
        ("POST", f"{path}/send_message/", {}, 400),
        ("POST", f"{path}/send_message/", {"message": " "}, 400),
        ("POST", f"{path}/send_message/", {"message": "a\0b"}, 400),
        ("POST", f"{path}/send_message/", {"message": "x", "temperature": "hot"}, 400),
        ("POST", f"{path}/send_message/", {"message": "x", "model": "no-such-model"}, 404),
        ("POST", f"{path}/send_message/", {"message": "x", "parent_id": UNKNOWN}, 404),
        ("POST", f"{SESSIONS}{UNKNOWN}/send_message/", {"message": "x"}, 404),
        ("POST", f"{SESSIONS}no-uuid/send_message/", {"message": "x"}, 400),
        ("POST", f"{path}/messages/{UNKNOWN}/regenerate/", {}, 404),
        ("POST", f"{path}/messages/no-uuid/regenerate/", {}, 404),
        ("PATCH", f"{path}/messages/{UNKNOWN}/", {"message": "x"}, 404),
        ("POST", f"{path}/fork/", {"message_id": UNKNOWN}, 404),
        ("POST", f"{path}/fork/", {}, 400),
        ("GET", f"{path}/messages/{UNKNOWN}/", None, 404),
        ("GET", f"{path}/messages/no-uuid/", None, 404),
        ("GET", f"{path}/messages/?cursor=zzz", None, 400),
        ("GET", f"{path}/messages/?limit=0", None, 400),
        ("GET", f"{path}/messages/?leaf={UNKNOWN}", None, 404),
        ("GET", f"{path}/export/?format=pdf", None, 400),
        ("GET", f"{SESSIONS}{UNKNOWN}/export/", None, 404),
        ("POST", f"{SESSIONS}{UNKNOWN}/restore/", None, 404),
        ("PATCH", f"{path}/", {}, 400),
        ("PATCH", f"{path}/", {"temperature": 3}, 400),
        ("POST", f"{SESSIONS}import/", {"format": "parley-session"}, 400),
        ("POST", f"{SESSIONS}import/", {"format": "other", "messages": []}, 400),
        ("POST", f"{SESSIONS}import/", exported("0001-01-01T00:00:00+14:00"), 400),
        ("POST", f"{SESSIONS}import/", exported("9999-12-31T23:59:59-14:00"), 400),
    ]
    for method, address, body, status in cases:
        reply = await http.request(method, address, json=body)
        assert reply.status_code == status, (method, address, reply.text)
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert await branch(http, session) == []
