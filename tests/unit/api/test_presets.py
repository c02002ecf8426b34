"""Presets and preferences over HTTP, on both faces."""

from typing import Any, NamedTuple

import pytest

from services.api.spelling import respelled
from shared.contracts.ids import UserId
from shared.contracts.presets import CREATE_PRESET, CreatePreset
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

CAMEL, SNAKE = "/api/chat", "/ai-chat/api"
UNKNOWN = "00000000-0000-7000-8000-00000000dead"
SETTINGS: dict[str, Any] = {
    "model": "demo",
    "temperature": 0.25,
    "topP": 0.9,
    "maxTokens": 200,
    "systemPrompt": "You review code.",
    "tools": ["search"],
}
WHOLE: dict[str, Any] = {
    "name": "Reviewer",
    "description": "Strict",
    "public": False,
    **SETTINGS,
}
NO_SETTINGS = dict.fromkeys(SETTINGS)


def snake(body: dict[str, Any]) -> dict[str, Any]:
    spelled = {"topP": "top_p", "maxTokens": "max_tokens", "systemPrompt": "system_prompt"}
    spelled |= {"createdAt": "created_at", "updatedAt": "updated_at"}
    return {spelled.get(name, name): value for name, value in body.items()}


async def foreign_preset(world: FakeWorld, *, public: bool) -> str:
    """A preset of somebody else."""
    preset_id = f"00000000-0000-7000-8000-{int(public):012d}"
    command = CreatePreset(
        user_id=UserId("bob"), preset_id=preset_id, name="Bob's", public=public, temperature=1
    )
    await world.asking.ask(CREATE_PRESET, command)
    return preset_id


async def test_a_preset_is_created_read_changed_replaced_and_deleted() -> None:
    async with client_of(FakeWorld()) as client:
        reply = await client.post(f"{CAMEL}/presets/", json=WHOLE)
        assert (reply.status_code, reply.headers["etag"]) == (201, '"1"')
        made = reply.json()
        generated = {name: made[name] for name in ("id", "createdAt", "updatedAt")}
        assert made == {**WHOLE, **generated, "mine": True, "version": 1}

        path = f"{CAMEL}/presets/{made['id']}/"
        read = await client.get(path)
        assert (read.json(), read.headers["etag"]) == (made, '"1"')

        patched = (await client.patch(path, json={"topP": None, "temperature": 0})).json()
        assert (patched["topP"], patched["temperature"], patched["version"]) == (None, 0, 2)
        assert patched["systemPrompt"] == SETTINGS["systemPrompt"]

        replaced = (await client.put(path, json={"name": " Critic "})).json()
        assert replaced["name"] == "Critic"
        assert replaced["description"] == ""
        assert {name: replaced[name] for name in SETTINGS} == NO_SETTINGS

        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.delete(path)).status_code == 404


async def test_both_faces_show_one_preset_in_their_own_spelling() -> None:
    async with client_of(FakeWorld()) as client:
        made = (await client.post(f"{SNAKE}/presets", json=snake(WHOLE))).json()
        assert set(made) == set(snake({**WHOLE, "createdAt": 0, "updatedAt": 0})) | {
            "id",
            "mine",
            "version",
        }
        camel = (await client.get(f"{CAMEL}/presets/{made['id']}/")).json()

        assert snake(camel) == made
        assert camel["systemPrompt"] == SETTINGS["systemPrompt"]
        (listed,) = (await client.get(f"{SNAKE}/presets/")).json()["presets"]
        assert listed == made


async def test_a_list_is_by_name_and_goes_over_pages_to_its_end() -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        for name in ("delta", "Alpha", "charlie", "bravo"):
            await client.post(f"{CAMEL}/presets/", json={"name": name})
        await foreign_preset(world, public=True)
        await foreign_preset(world, public=False)
        seen: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await client.get(f"{CAMEL}/presets/", params=query)).json()
            seen += page["presets"]
            cursor = page["nextCursor"]
            if cursor is None:
                break

        assert [it["name"] for it in seen] == ["Alpha", "Bob's", "bravo", "charlie", "delta"]
        assert [it["mine"] for it in seen] == [True, False, True, True, True]


async def test_the_longest_name_has_a_cursor_that_is_taken() -> None:
    async with client_of(FakeWorld()) as client:
        for _ in range(2):
            made = await client.post(f"{CAMEL}/presets/", json={"name": "😀" * 255})
            assert made.status_code == 201
        page = (await client.get(f"{CAMEL}/presets/?limit=1")).json()
        rest = await client.get(
            f"{CAMEL}/presets/", params={"limit": 1, "cursor": page["nextCursor"]}
        )
        assert len(rest.json()["presets"]) == 1


VERSIONS = [
    (None, None, 200),
    ("*", None, 200),
    ('"2"', None, 200),
    ('W/"2"', None, 200),
    (None, 2, 200),
    ('"2"', 2, 200),
    ('"1"', None, 412),
    ('"3"', None, 412),
    ('"somebody else\'s"', None, 412),
    ("2", None, 412),
    (None, 1, 409),
    ('"2", "3"', None, 412),
    ('"2"', 1, 400),
]


@pytest.mark.parametrize(
    ("method", "header", "in_body", "status"),
    [
        (method, *version)
        for method in ("PUT", "PATCH", "DELETE")
        for version in VERSIONS
        if method != "DELETE" or version[1] is None
    ],
)
async def test_a_change_of_another_version_is_refused(
    method: str, header: str | None, in_body: int | None, status: int
) -> None:
    async with client_of(FakeWorld()) as client:
        made = (await client.post(f"{CAMEL}/presets/", json=WHOLE)).json()
        path = f"{CAMEL}/presets/{made['id']}/"
        await client.patch(path, json={"name": "Second"})
        body = {"name": "Third"} | ({"version": in_body} if in_body else {})

        reply = await client.request(
            method,
            path,
            json=None if method == "DELETE" else body,
            headers={"If-Match": header} if header else {},
        )

        assert reply.status_code == (204 if method == "DELETE" and status == 200 else status)
        if status in {409, 412}:
            assert reply.json()["error"]["code"] == "version_conflict"
            assert (await client.get(path)).json()["name"] == "Second"


@pytest.mark.parametrize("face", [CAMEL, SNAKE])
@pytest.mark.parametrize("which", ["private", "public", "unknown"])
async def test_what_is_anothers_looks_unknown_to_who_would_change_it(face: str, which: str) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        preset_id = UNKNOWN
        if which != "unknown":
            preset_id = await foreign_preset(world, public=which == "public")
        path = f"{face}/presets/{preset_id}/"
        replies = [
            await client.put(path, json={"name": "Mine", "version": 7}),
            await client.patch(path, json={"name": "Mine"}, headers={"If-Match": '"7"'}),
            await client.delete(path),
        ]
        reading = [
            await client.get(path),
            await client.post(f"{path}create_session_from_preset/"),
        ]
        if which == "public":
            assert [reply.status_code for reply in reading] == [200, 201]
            assert reading[0].json()["mine"] is False
        else:
            replies += reading
        for reply in replies:
            assert reply.status_code == 404
            assert reply.json()["error"] == {
                "message": "This preset does not exist.",
                "type": "invalid_request_error",
                "param": "presetId" if face == CAMEL else "preset_id",
                "code": "preset_not_found",
            }


async def test_a_session_gets_a_copy_of_the_settings() -> None:
    world = FakeWorld()
    world.history = history = WholeHistory()
    async with client_of(world) as client:
        made = (await client.post(f"{CAMEL}/presets/", json=WHOLE)).json()
        path = f"{CAMEL}/presets/{made['id']}/create_session_from_preset/"
        titled = await client.post(path, json={"title": " Review "})
        untitled = await client.post(path)

    assert (titled.status_code, titled.json()["title"]) == (201, "Review")
    assert untitled.json()["title"] == "New chat"
    assert titled.headers["etag"] == '"1"'
    for body in (titled.json(), untitled.json()):
        assert {name: body[name] for name in SETTINGS} == SETTINGS
        assert body["presetId"] == made["id"]
    # Sockets hear of it as of any new session.
    created = [it.session_id for it in history.scene.told.events if it.type == "session_created"]
    assert created == [titled.json()["id"], untitled.json()["id"]]


class Bad(NamedTuple):
    field: str
    value: Any
    says: str


BAD_SETTINGS = [
    Bad("model", "", "at least 1 character"),
    Bad("model", "x" * 257, "at most 256 characters"),
    Bad("model", " demo", "name holds no"),
    Bad("model", "de\nmo", "name holds no"),
    Bad("model", 5, "must be text"),
    Bad("temperature", -0.1, "at least 0"),
    Bad("temperature", 2.1, "at most 2"),
    Bad("temperature", "hot", "must be a number"),
    Bad("temperature", True, "must be a number"),
    Bad("topP", 1.01, "at most 1"),
    Bad("topP", -1, "at least 0"),
    Bad("maxTokens", 0, "at least 1"),
    Bad("maxTokens", 1.5, "must be a whole number"),
    Bad("maxTokens", 2**31, "at most"),
    Bad("systemPrompt", "x" * 100_001, "at most 100000 characters"),
    Bad("systemPrompt", "a\0b", "U+0000"),
    Bad("systemPrompt", ["x"], "must be text"),
    Bad("tools", "search", "must be a list"),
    Bad("tools", ["x"] * 65, "at most 64 items"),
    Bad("tools", [""], "at least 1 character"),
    Bad("tools", ["x" * 65], "at most 64 characters"),
    Bad("tools", [{"type": "function"}], "must be text"),
]
BAD_PRESETS = [
    *BAD_SETTINGS,
    Bad("name", "", "at least one character"),
    Bad("name", "   ", "at least one character"),
    Bad("name", None, ""),
    Bad("name", "x" * 256, "at most 255 characters"),
    Bad("name", 5, "must be text"),
    Bad("description", "x" * 2001, "at most 2000 characters"),
    Bad("description", None, ""),
    Bad("public", "yes", "must be true or false"),
    Bad("public", None, ""),
    Bad("version", 0, "at least 1"),
    Bad("version", "1", "must be a whole number"),
]


def label(bad: Bad) -> str:
    return f"{bad.field}={str(bad.value)[:12]!r}"


@pytest.mark.parametrize("bad", BAD_PRESETS, ids=label)
async def test_a_bad_preset_is_refused_with_its_field_and_nothing_is_stored(bad: Bad) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        made = (await client.post(f"{CAMEL}/presets/", json=WHOLE)).json()
        path = f"{CAMEL}/presets/{made['id']}/"
        for method, where in (("POST", f"{CAMEL}/presets/"), ("PUT", path), ("PATCH", path)):
            body = {"name": "Reviewer", bad.field: bad.value}
            reply = await client.request(method, where, json=body)
            assert reply.status_code == 400, (method, reply.text)
            error = reply.json()["error"]
            assert error["param"].split(".")[0] == bad.field
            assert bad.says in error["message"]
        assert (await client.get(path)).json() == made
        assert len(world.asking.presets.presets) == 1


@pytest.mark.parametrize("bad", BAD_SETTINGS, ids=label)
async def test_bad_preferences_are_refused_and_nothing_is_stored(bad: Bad) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        for face in (CAMEL, SNAKE):
            reply = await client.put(f"{face}/preferences/", json={bad.field: bad.value})
            assert reply.status_code == 400, reply.text
            named = respelled(bad.field, camel=face == CAMEL)
            assert reply.json()["error"]["param"].split(".")[0] == named
    assert world.asking.settings.by_user == {}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "presets/", b"{"),
        ("POST", "presets/", b"[]"),
        ("POST", "presets/", b""),
        ("POST", "presets/", b'{"name": "\\ud800"}'),
        ("PUT", "presets/not-a-uuid/", b'{"name": "x"}'),
        ("PATCH", "presets/not-a-uuid/", b"{}"),
        ("GET", "presets/not-a-uuid/", None),
        ("DELETE", "presets/not-a-uuid/", None),
        ("POST", "presets/not-a-uuid/create_session_from_preset/", None),
        ("POST", f"presets/{UNKNOWN}/create_session_from_preset/", b'{"title": 5}'),
        ("GET", "presets/?limit=0", None),
        ("GET", "presets/?limit=201", None),
        ("GET", "presets/?limit=x", None),
        ("GET", "presets/?cursor=nonsense", None),
        ("GET", f"presets/?cursor={'x' * 1001}", None),
        ("PUT", "preferences/", b"null"),
    ],
)
@pytest.mark.parametrize("face", [CAMEL, SNAKE])
async def test_a_bad_request_is_a_400_with_the_one_body(
    face: str, method: str, path: str, body: bytes | None
) -> None:
    async with client_of(FakeWorld()) as client:
        reply = await client.request(method, f"{face}/{path}", content=body)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


async def test_preferences_are_replaced_whole_and_seen_at_once() -> None:
    async with client_of(FakeWorld()) as client:
        assert (await client.get(f"{CAMEL}/preferences/")).json() == NO_SETTINGS

        stored = await client.put(f"{CAMEL}/preferences/", json=SETTINGS)
        assert (stored.status_code, stored.json()) == (200, SETTINGS)
        assert (await client.get(f"{SNAKE}/preferences/")).json() == snake(SETTINGS)

        await client.put(f"{SNAKE}/preferences/", json={"max_tokens": 7})
        now = (await client.get(f"{CAMEL}/preferences/")).json()
        assert now == {**NO_SETTINGS, "maxTokens": 7}


async def test_while_history_is_away_presets_and_preferences_say_so() -> None:
    world = FakeWorld()
    world.history.away = True
    async with client_of(world) as client:
        for path in ("presets/", f"presets/{UNKNOWN}/", "preferences/"):
            reply = await client.get(f"{CAMEL}/{path}")
            assert reply.status_code == 503
            assert reply.json()["error"]["code"] == "history_unavailable"


async def test_the_document_names_the_bodies() -> None:
    async with client_of(FakeWorld()) as client:
        document = (await client.get("/openapi.json")).json()
    for prefix in (CAMEL, SNAKE):
        operation = document["paths"][f"{prefix}/presets/{{preset_id}}"]["patch"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert schema.rsplit("/", 1)[1] == "PatchPresetRequest"
        assert "412" in operation["responses"]
    assert "system_prompt" in document["components"]["schemas"]["SnakePresetBody"]["properties"]
