"""What one user has got from another (ids, cursors, files, keys) opens nothing of that user's."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx
import pytest
from fastapi.routing import APIWebSocketRoute
from starlette.routing import Route

from services.api.app import create_app
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.two_people import ASK, COMPLETIONS, Scene, two_people
from tests.fakes.api.whole_world import MARK
from tests.support.frames import at

DOCUMENT: Final[dict[str, Any]] = create_app(quick_settings()).openapi()
SESSIONS: Final = "/api/chat/sessions"


@pytest.fixture(params=["user", "administrator"])
async def scene(request: pytest.FixtureRequest) -> AsyncGenerator[Scene]:
    async with two_people(admin=request.param == "administrator") as made:
        yield made


def test_nothing_is_served_that_no_test_of_isolation_knows() -> None:
    app = create_app(quick_settings())
    routes = [*app.routes]
    sockets, hidden = set(), set()
    while routes:
        route = routes.pop()
        routes += getattr(getattr(route, "original_router", None), "routes", ())
        if isinstance(route, APIWebSocketRoute):
            sockets.add(route.path)
        elif isinstance(route, Route) and not getattr(route, "include_in_schema", True):
            hidden.add(route.path)
    assert sockets == {
        "/ws/ai-chat/session/{session_id}",
        "/ws/ai-chat/sessions",
        # Whatever else is asked for is closed with 4404.
        "/{path:path}",
    }
    assert hidden == {"/openapi.json"}


async def test_no_parameter_of_a_query_reaches_what_belongs_to_another_user(scene: Scene) -> None:
    before = await scene.everything_of_ann()
    his = {**scene.his._asdict(), "model_id": "demo", "key_id": scene.his.preset_id}
    for path, item in DOCUMENT["paths"].items():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["in"] != "query":
                continue
            for wanted in (*scene.hers, "ann", MARK, f"{scene.hers.completion_id}:0"):
                reply = await scene.http.get(
                    path.format(**his), params={parameter["name"]: wanted}, headers=scene.bob
                )
                assert reply.status_code < 500
                if reply.is_success and "keys" not in path and "user_data" not in path:
                    found = [each for each in (*scene.hers, "of Ann") if each in reply.text]
                    assert found == [], (path, parameter["name"], wanted)
    assert await scene.everything_of_ann() == before


@pytest.mark.parametrize("of", [SESSIONS, "/api/chat/presets", "messages"])
async def test_a_cursor_of_another_users_list_gives_nothing_of_theirs(
    scene: Scene, of: str
) -> None:
    for _ in range(3):
        await scene.http.post(SESSIONS, json={"title": MARK}, headers=scene.ann)
        await scene.http.post("/api/chat/presets", json={"name": MARK}, headers=scene.ann)
    hers, his = (
        f"{SESSIONS}/{things.session_id}/messages" if of == "messages" else of
        for things in (scene.hers, scene.his)
    )
    page = (await scene.http.get(hers, params={"limit": 1}, headers=scene.ann)).json()
    cursor = page["nextCursor"]
    assert cursor
    reply = await scene.http.get(his, params={"cursor": cursor}, headers=scene.bob)
    assert reply.status_code in ({404} if of == "messages" else {200, 400})
    listed = (await scene.http.get(hers, headers=scene.ann)).json()
    (things,) = (value for value in listed.values() if isinstance(value, list))
    assert len(things) > 1
    assert [thing["id"] for thing in things if thing["id"] in reply.text] == []


async def test_a_file_that_another_user_has_imported_is_another_session(scene: Scene) -> None:
    file = (
        await scene.http.get(f"{SESSIONS}/{scene.hers.session_id}/export", headers=scene.ann)
    ).json()
    for headers in ({}, {"Idempotency-Key": "same"}):
        made = []
        for who in (scene.ann, scene.bob):
            reply = await scene.http.post(
                f"{SESSIONS}/import", json=file, headers={**who, **headers}
            )
            assert reply.status_code == 201, reply.text
            assert "idempotency-replayed" not in reply.headers
            made.append(reply.json()["id"])
        hers, his = made
        assert len({hers, his, scene.hers.session_id}) == 3
        assert (await scene.http.get(f"{SESSIONS}/{his}", headers=scene.ann)).status_code == 404
        assert (await scene.http.get(f"{SESSIONS}/{hers}", headers=scene.bob)).status_code == 404
        brought = await scene.http.get(f"{SESSIONS}/{his}/messages", headers=scene.bob)
        assert scene.hers.message_id not in brought.text


async def test_the_same_idempotency_key_is_another_one_at_every_address_that_takes_it(
    scene: Scene,
) -> None:
    ways: tuple[tuple[str, str, dict[str, Any], int], ...] = (
        ("POST", "fork", {}, 201),
        ("POST", "send_message", {"message": "Hi", "model": "demo"}, 200),
        ("POST", "messages/{message}/regenerate", {}, 200),
    )
    for method, rest, body, status in ways:
        made, key = [], {"Idempotency-Key": rest.replace("/", "-")}
        for who, things in ((scene.ann, scene.hers), (scene.bob, scene.his)):
            path = f"{SESSIONS}/{things.session_id}/{rest.format(message=things.message_id)}"
            reply = await scene.http.request(method, path, json=body, headers={**who, **key})
            assert reply.status_code == status, (rest, reply.text)
            assert "idempotency-replayed" not in reply.headers, rest
            made.append(reply.json().get("completionId") or reply.json()["id"])
        assert made[0] != made[1], rest


async def test_a_socket_goes_on_from_nothing_of_another_user(scene: Scene) -> None:
    token = (b"authorization", scene.bob["Authorization"].encode())
    before = await scene.everything_of_ann()
    path = f"/ws/ai-chat/session/{scene.his.session_id}"
    for field in ("parent_id", "leaf"):
        async with at(scene.app, path, token) as socket:
            socket.say(type="send_message", message="Hi", **{field: scene.hers.message_id})
            told = await socket.next()
            assert isinstance(told, dict)
            if field == "parent_id":
                assert (told["type"], told["code"]) == ("error", "message_not_found")
            assert MARK not in json.dumps(told)
    assert await scene.everything_of_ann() == before


async def test_a_forged_cursor_names_nobody(scene: Scene) -> None:
    for claim in ({"user": "ann"}, {"u": "ann", "k": "0"}, ["ann", "0"], {"$ne": None}):
        cursor = base64.urlsafe_b64encode(json.dumps(claim).encode()).decode().rstrip("=")
        for path in (SESSIONS, "/api/chat/presets"):
            reply = await scene.http.get(path, params={"cursor": cursor}, headers=scene.bob)
            assert reply.status_code == 400, reply.text


async def test_strangers_in_open_mode_have_only_what_their_own_address_asked_for() -> None:
    async with two_people(mode="open") as scene:
        clients = [
            httpx.AsyncClient(
                transport=httpx.ASGITransport(scene.app, client=(address, 4000)),
                base_url="http://localhost",
            )
            for address in ("203.0.113.1", "203.0.113.2")
        ]
        one, other = clients
        made = (await one.post(COMPLETIONS, json=ASK)).json()["id"]
        for completion, reader, status in (
            (made, one, 200),
            (made, other, 404),
            (scene.hers.completion_id, one, 404),
        ):
            reply = await reader.get(f"{COMPLETIONS}/{completion}")
            assert reply.status_code == status, reply.text
        for method, path in (
            ("GET", SESSIONS),
            ("GET", f"{SESSIONS}/{scene.hers.session_id}"),
            ("GET", "/api/chat/usage"),
            ("POST", "/api/chat/tickets"),
        ):
            assert (await one.request(method, path)).status_code == 401, path
        for client in clients:
            await client.aclose()
