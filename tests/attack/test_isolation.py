"""What belongs to somebody else is as if it did not exist, at every address there is.

Each operation of ``/openapi.json`` has a row here: a new one without a row fails the test.
"""

import re
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

import pytest

from services.api.app import create_app
from shared.contracts.ids import new_completion_id, new_session_id
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.two_people import ASK, COMPLETIONS, IDEMPOTENCY, Scene, nobodys, two_people
from tests.fakes.api.whole_world import MARK
from tests.support.frames import at


class Hidden(NamedTuple):
    """Names somebody's things: 404, the same as for what was never there."""

    body: dict[str, Any] | None = None
    queries: tuple[str, ...] = ("",)


class Own(NamedTuple):
    """Only ever about who asks: nothing of anybody else's is in it."""

    body: dict[str, Any] | None = None
    queries: tuple[str, ...] = ("",)


class Admin(NamedTuple):
    """For administrators: 403, whatever it names."""

    body: dict[str, Any] | None = None


Row = Hidden | Own | Admin

ROWS: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/healthz"): Own(),
    ("GET", "/readyz"): Own(),
    ("GET", "/v1/health"): Own(),
    ("GET", "/v1/models"): Own(),
    ("GET", "/v1/models/{model_id}"): Own(),
    ("POST", COMPLETIONS): Own(ASK),
    ("POST", f"{COMPLETIONS}/cancel"): Own(),
    ("POST", f"{COMPLETIONS}/{{completion_id}}/cancel"): Hidden(),
    ("GET", f"{COMPLETIONS}/{{completion_id}}"): Hidden(
        queries=("", "?stream=true", "?stream=true&starting_after=0")
    ),
}
FACED: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/sessions"): Own(queries=("", f"?search={MARK}", "?deleted=true")),
    ("POST", "/sessions"): Own({}),
    ("POST", "/sessions/import"): Own({"format": "parley-session", "messages": []}),
    ("GET", "/sessions/{session_id}"): Hidden(queries=("", "?limit=1", "?beforeDepth=2")),
    ("PUT", "/sessions/{session_id}"): Hidden({"title": "Taken"}),
    ("PATCH", "/sessions/{session_id}"): Hidden({"title": "Taken"}),
    ("DELETE", "/sessions/{session_id}"): Hidden(),
    ("POST", "/sessions/{session_id}/restore"): Hidden(),
    ("POST", "/sessions/{session_id}/fork"): Hidden({}),
    ("GET", "/sessions/{session_id}/export"): Hidden(queries=("", "?format=markdown")),
    ("POST", "/sessions/{session_id}/send_message"): Hidden({"message": "Hi", "model": "demo"}),
    ("GET", "/sessions/{session_id}/messages"): Hidden(),
    ("GET", "/sessions/{session_id}/messages/{message_id}"): Hidden(),
    ("PATCH", "/sessions/{session_id}/messages/{message_id}"): Hidden({"message": "Hi"}),
    ("POST", "/sessions/{session_id}/messages/{message_id}/regenerate"): Hidden({}),
    ("GET", "/presets"): Own(),
    ("POST", "/presets"): Own({"name": "mine"}),
    ("GET", "/presets/{preset_id}"): Hidden(),
    ("PUT", "/presets/{preset_id}"): Hidden({"name": "Taken"}),
    ("PATCH", "/presets/{preset_id}"): Hidden({"name": "Taken"}),
    ("DELETE", "/presets/{preset_id}"): Hidden(),
    ("POST", "/presets/{preset_id}/create_session_from_preset"): Hidden({}),
    ("GET", "/usage"): Own(queries=("", "?group=model", "?format=csv")),
    ("GET", "/budget"): Own(),
    ("GET", "/health/stats"): Own(),
    ("GET", "/health/llm_server"): Own(),
    ("GET", "/status"): Own(),
    ("GET", "/preferences"): Own(),
    ("PUT", "/preferences"): Own({"model": "demo"}),
    ("PATCH", "/preferences"): Own({"model": "demo"}),
    ("GET", "/models"): Own(),
    ("POST", "/models/sync_models"): Own(),
    ("PUT", "/models/default"): Admin({"model": "demo"}),
    ("PUT", "/models/{model_id}/settings"): Admin({"hidden": True}),
    ("GET", "/keys"): Admin(),
    ("POST", "/keys"): Admin({"user": "ann"}),
    ("DELETE", "/keys/{key_id}"): Admin(),
    ("POST", "/tickets"): Own(),
    ("GET", "/user_data"): Admin(),
    ("DELETE", "/user_data"): Admin(),
}
FACES: Final = ("/api/chat", "/ai-chat/api")
TABLE: Final = {
    **ROWS,
    **{(method, face + path): row for face in FACES for (method, path), row in FACED.items()},
}


@pytest.fixture(params=["user", "administrator"])
async def scene(request: pytest.FixtureRequest) -> AsyncGenerator[Scene]:
    async with two_people(admin=request.param == "administrator") as made:
        yield made


def test_every_operation_has_a_row() -> None:
    document = create_app(quick_settings()).openapi()
    operations = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert operations == TABLE.keys()


async def test_what_belongs_to_another_user_is_as_if_it_did_not_exist(scene: Scene) -> None:
    before = await scene.everything_of_ann()
    for (method, path), row in TABLE.items():
        if isinstance(row, Hidden):
            for query in row.queries:
                address = path + query
                found = await scene.bob_asks(method, address, scene.hers, row.body)
                never = await scene.bob_asks(method, address, nobodys(), row.body)
                assert found == never, address
                assert found[0] == 404, address
    assert await scene.everything_of_ann() == before


async def test_what_is_about_who_asks_holds_nothing_of_anybody_else(scene: Scene) -> None:
    before = await scene.everything_of_ann()
    ids = re.compile("|".join([*scene.hers, "of Ann"]))
    for (method, path), row in TABLE.items():
        if isinstance(row, Own):
            for query in row.queries:
                status, text = await scene.bob_asks(method, path + query, nobodys(), row.body)
                assert status in {200, 201, 404}, path
                assert not ids.search(text), path
    assert await scene.everything_of_ann() == before


@pytest.mark.parametrize("scene", ["user"], indirect=True)
async def test_what_is_for_administrators_is_refused_whatever_it_names(scene: Scene) -> None:
    for (method, path), row in TABLE.items():
        if isinstance(row, Admin):
            found = await scene.bob_asks(method, path, scene.hers, row.body)
            assert found == await scene.bob_asks(method, path, nobodys(), row.body), path
            assert found[0] == 403, path


async def test_ids_of_another_user_in_a_body_or_a_query_are_not_found(scene: Scene) -> None:
    hers, mine = scene.hers, f"/api/chat/sessions/{scene.his.session_id}"
    for method, path, body in (
        ("POST", COMPLETIONS, {**ASK, "sessionId": hers.session_id}),
        ("POST", COMPLETIONS, {**ASK, "session_id": hers.session_id, "stream": True}),
        ("POST", f"{mine}/fork", {"messageId": hers.message_id}),
        ("POST", f"{mine}/send_message", {"message": "Hi", "parentId": hers.message_id}),
        ("GET", f"{mine}/messages?leaf={hers.message_id}", None),
        ("GET", f"{mine}/messages/{hers.message_id}", None),
        ("PATCH", f"{mine}/messages/{hers.message_id}", {"message": "Hi"}),
        ("POST", f"{mine}/messages/{hers.message_id}/regenerate", {}),
    ):
        reply = await scene.http.request(method, path, json=body, headers=scene.bob)
        assert reply.status_code == 404, (method, path, reply.text)
        assert MARK not in reply.text


async def test_an_idempotency_key_of_another_user_is_another_one(scene: Scene) -> None:
    cancel = f"{COMPLETIONS}/cancel"
    stranger = {**scene.bob, **IDEMPOTENCY}
    assert (await scene.http.post(cancel, headers=stranger)).status_code == 404
    reply = await scene.http.post(COMPLETIONS, json={**ASK, "n": 1}, headers=stranger)
    assert reply.status_code == 200
    assert "idempotency-replayed" not in reply.headers


async def test_a_socket_of_another_users_session_is_closed_as_for_none(scene: Scene) -> None:
    token = (b"authorization", scene.bob["Authorization"].encode())
    said = []
    for session in (scene.hers.session_id, new_session_id()):
        async with at(scene.app, f"/ws/ai-chat/session/{session}", token) as socket:
            said.append([socket.first, await socket.next()])
    assert said[0] == said[1]
    assert said[0][1] == 4404


async def test_a_socket_resumes_and_stops_nothing_of_another_user(scene: Scene) -> None:
    token = (b"authorization", scene.bob["Authorization"].encode())
    path = f"/ws/ai-chat/session/{scene.his.session_id}"
    for kind in ("resume", "stop_generation"):
        told = []
        for completion in (scene.hers.completion_id, new_completion_id()):
            async with at(scene.app, path, token) as socket:
                socket.say(type=kind, completion_id=completion)
                message = await socket.next()
                assert isinstance(message, dict)
                told.append({**message, "completion_id": None})
        assert told[0] == told[1]
        assert told[0]["code"] == "completion_not_found"


async def test_the_list_socket_hears_nothing_of_another_user(scene: Scene) -> None:
    token = (b"authorization", scene.bob["Authorization"].encode())
    async with at(scene.app, "/ws/ai-chat/sessions", token) as socket:
        made = await scene.http.post("/api/chat/sessions", json={"title": MARK}, headers=scene.ann)
        assert made.status_code == 201
        heard = await socket.until_pong(0)
    assert isinstance(heard, list)
    assert [message["type"] for message in heard] == ["pong"]
