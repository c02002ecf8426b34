"""What nobody understands is accepted and named in a header: in bodies and queries alike."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.fakes.api.world import FakeWorld, client_of

FACES = ["/api/chat", "/ai-chat/api"]
IGNORED = "x-parley-ignored"
PRESET = {"name": "Reviewer"}


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    world = FakeWorld()
    world.answer("Hello")
    async with client_of(world) as client:
        yield client


async def made(http: httpx.AsyncClient, face: str, what: str) -> str:
    body = PRESET if what == "presets" else {"model": "demo"}
    return str((await http.post(f"{face}/{what}/", json=body)).json()["id"])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "sessions/", {}),
        ("PATCH", "sessions/{session}/", {"title": "x"}),
        ("PUT", "sessions/{session}/", {"title": "x"}),
        ("POST", "sessions/{session}/send_message/", {"message": "x"}),
        ("POST", "sessions/{session}/fork/", {"messageId": "x"}),
        ("POST", "sessions/import/", {"format": "parley-session", "messages": []}),
        ("POST", "presets/", PRESET),
        ("PUT", "presets/{preset}/", PRESET),
        ("PATCH", "presets/{preset}/", PRESET),
        ("POST", "presets/{preset}/create_session_from_preset/", {}),
        ("PUT", "preferences/", {}),
        ("PATCH", "preferences/", {}),
        ("PUT", "models/demo/settings/", {}),
        ("PUT", "models/default/", {"model": "demo"}),
    ],
)
async def test_unknown_fields_of_a_body_are_named(
    http: httpx.AsyncClient, face: str, method: str, path: str, body: dict[str, object]
) -> None:
    where = path.format(
        session=await made(http, face, "sessions"), preset=await made(http, face, "presets")
    )
    known = await http.request(method, f"{face}/{where}", json=body)
    reply = await http.request(method, f"{face}/{where}", json={**body, "colour": 1, "aB": 2})
    assert reply.status_code == known.status_code
    assert IGNORED not in known.headers
    assert reply.headers[IGNORED] == "colour, aB"


@pytest.mark.parametrize("face", FACES)
async def test_unknown_parameters_of_a_query_are_named_as_they_came(
    http: httpx.AsyncClient, face: str
) -> None:
    session = await made(http, face, "sessions")
    for path, ignored in {
        "sessions/?limit=1&page_size=3&deleted=false": "page_size",
        f"sessions/{session}/?before_depth=2&beforeDepth=2": None,
        f"sessions/{session}/messages/?ORDER=asc&cursor=before-3": "ORDER",
        "status/?verbose": "verbose",
    }.items():
        reply = await http.get(f"{face}/{path}")
        assert reply.status_code == 200, reply.text
        assert reply.headers.get(IGNORED) == ignored, path
    both = await http.patch(f"{face}/sessions/{session}/?dry_run=1", json={"title": "x", "y": 1})
    assert set(both.headers[IGNORED].split(", ")) == {"dry_run", "y"}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", ["public", "isPublic", "is_public"])
async def test_a_preset_is_made_public_under_either_name(
    http: httpx.AsyncClient, face: str, name: str
) -> None:
    created = await http.post(f"{face}/presets/", json={**PRESET, name: True})
    assert created.json()["public"] is True
    assert IGNORED not in created.headers
    path = f"{face}/presets/{created.json()['id']}/"
    assert (await http.patch(path, json={name: False})).json()["public"] is False
    assert (await http.put(path, json={**PRESET, name: True})).json()["public"] is True
    refused = await http.patch(path, json={name: "yes"})
    assert refused.status_code == 400


@pytest.mark.parametrize("face", FACES)
async def test_preferences_are_changed_one_by_one_or_replaced(
    http: httpx.AsyncClient, face: str
) -> None:
    path = f"{face}/preferences/"
    await http.put(path, json={"model": "demo", "temperature": 0.5})
    changed = (await http.patch(path, json={"temperature": None, "tools": ["a"]})).json()
    assert (changed["model"], changed["temperature"], changed["tools"]) == ("demo", None, ["a"])
    assert (await http.get(path)).json() == changed
    replaced = (await http.put(path, json={"temperature": 1})).json()
    assert (replaced["model"], replaced["tools"]) == (None, None)


async def test_a_preset_begins_with_what_it_is_known_by(http: httpx.AsyncClient) -> None:
    preset = (await http.post("/api/chat/presets/", json=PRESET)).json()
    assert list(preset)[:4] == ["id", "name", "description", "public"]
