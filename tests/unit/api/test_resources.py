"""Models, sessions, health and the frame around them, over fakes."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from services.api.completions.catalog import Catalog
from services.api.settings import ApiSettings
from shared.contracts.chat import CompletionStatus, ContentPart
from shared.contracts.history import StoredMessage
from shared.contracts.ids import MessageId, SessionId, new_completion_id
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import SetClock
from tests.fakes.api.worker import announcement
from tests.fakes.api.world import FakeWorld, client_of

DEMO = {
    "id": "demo",
    "object": "model",
    "created": 1_700_000_000,
    "owned_by": "parley",
    "displayLabel": "llama GGUF 3.2B Q4_0",
    "contextLength": 131072,
    "capabilities": ["tools"],
    "metadata": {
        "family": "llama",
        "format": "GGUF",
        "parameterSize": "3.2B",
        "quantizationLevel": "Q4_0",
    },
}


async def test_models_have_the_shape_of_the_requirements() -> None:
    async with client_of(FakeWorld()) as client:
        for path in ("/v1/models", "/v1/models/"):
            response = await client.get(path)
            assert response.json() == {"object": "list", "data": [DEMO]}
        for name in ("demo", "demo:latest"):
            assert (await client.get(f"/v1/models/{name}")).json() == DEMO


def engine() -> EngineState:
    return EngineState(url="http://engine", ok=True)


def test_several_workers_with_one_model_are_one_entry() -> None:
    catalog = Catalog(SetClock(), age=12)
    cards = [ModelCard(name="hf.co/a/b:Q4"), ModelCard(name="demo")]
    for worker_id in ("w1", "w2"):
        catalog.put(
            WorkerAnnouncement(worker_id=worker_id, slots=1, free=1, models=cards, engine=engine())
        )
    assert [offer.id for offer in catalog.models()] == ["demo", "hf.co/a/b:Q4"]
    assert catalog.find("hf.co/a/b:Q4") is not None
    assert catalog.find("demo:latest") is not None
    catalog.remove("w1")
    assert len(catalog.models()) == 2


def test_entries_age_by_when_they_were_heard_and_stored_ones_must_be_confirmed() -> None:
    clock = SetClock()
    catalog = Catalog(clock, age=12)
    catalog.put(announcement("heard"))
    catalog.put(announcement("stored"), stored=True)
    catalog.put(announcement("both"))
    catalog.put(announcement("both"), stored=True)
    clock.time += 5
    assert [worker.worker_id for worker in catalog.workers()] == ["both", "heard"]
    clock.time += 7
    assert catalog.workers() == []


async def test_sessions_are_created_listed_read_renamed_and_deleted() -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        created = await client.post("/api/chat/sessions/", json={"title": " First "})
        assert created.status_code == 201
        session = created.json()
        assert session == {
            "id": session["id"],
            "title": "First",
            "createdAt": "2025-01-27T10:00:00.000Z",
            "updatedAt": "2025-01-27T10:00:00.000Z",
            "messageCount": 0,
            "version": 1,
            **dict.fromkeys(
                (
                    "model",
                    "temperature",
                    "topP",
                    "maxTokens",
                    "systemPrompt",
                    "tools",
                    "presetId",
                    "activeLeaf",
                    "deletedAt",
                )
            ),
        }
        untitled = (await client.post("/api/chat/sessions")).json()
        assert untitled["title"] == "New chat"

        page = (await client.get("/api/chat/sessions/?limit=1")).json()
        assert [one["id"] for one in page["sessions"]] == [session["id"]]
        rest = await client.get(f"/api/chat/sessions/?limit=1&cursor={page['nextCursor']}")
        assert [one["id"] for one in rest.json()["sessions"]] == [untitled["id"]]
        assert rest.json()["nextCursor"] is None

        path = f"/api/chat/sessions/{session['id']}/"
        renamed = await client.put(path, json={"title": "x" * 255})
        assert renamed.json()["title"] == "x" * 255
        for title in ("x" * 256, "", "   ", 5, None):
            refused = await client.put(path, json={"title": title})
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "title"
        assert (await client.delete(path)).status_code == 204
        assert (await client.delete(path)).status_code == 204


async def test_a_session_shows_all_its_messages_oldest_first() -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        session_id = SessionId((await client.post("/api/chat/sessions/", json={})).json()["id"])
        world.history.messages[session_id] = [
            StoredMessage(
                id=MessageId(f"m{n}"), role="user", content=f"{n}", created_at=NOON, depth=n
            )
            for n in range(1, 451)
        ]
        path = f"/api/chat/sessions/{session_id}/"
        whole = (await client.get(path)).json()
        page = (await client.get(f"{path}?limit=2&beforeDepth=10")).json()
    assert [message["content"] for message in whole["messages"]] == [str(n) for n in range(1, 451)]
    assert whole["nextBeforeDepth"] is None
    assert [message["depth"] for message in page["messages"]] == [8, 9]
    assert page["nextBeforeDepth"] == 8


async def test_a_session_of_many_pictures_is_shown_in_portions_that_fit_into_memory() -> None:
    world = FakeWorld()
    picture = ContentPart(type="image_url", image_url="data:image/png;base64," + "A" * 200_000)
    async with client_of(world) as client:
        session_id = SessionId((await client.post("/api/chat/sessions/", json={})).json()["id"])
        world.history.messages[session_id] = [
            StoredMessage(
                id=MessageId(f"m{n}"), role="user", content=[picture], created_at=NOON, depth=n
            )
            for n in range(1, 250)
        ]
        path = f"/api/chat/sessions/{session_id}/"
        newest = (await client.get(path)).json()
        rest = (await client.get(f"{path}?beforeDepth={newest['nextBeforeDepth']}")).json()
    depths = [message["depth"] for part in (rest, newest) for message in part["messages"]]
    assert depths == list(range(1, 250))
    assert newest["nextBeforeDepth"] == 50


async def test_a_message_shows_what_it_has() -> None:
    world = FakeWorld()
    completion_id = new_completion_id()
    async with client_of(world) as client:
        session_id = SessionId((await client.post("/api/chat/sessions/", json={})).json()["id"])
        parts = [
            ContentPart(type="text", text="see"),
            ContentPart(type="image_url", image_url="data:x"),
        ]
        world.history.messages[session_id] = [
            StoredMessage(id=MessageId("u"), role="user", content=parts, created_at=NOON, depth=1),
            StoredMessage(
                id=MessageId("a"),
                role="assistant",
                content="I see",
                created_at=NOON,
                depth=2,
                parent_id=MessageId("u"),
                completion_id=completion_id,
                status=CompletionStatus.COMPLETED,
                finish_reason="stop",
                model="demo",
            ),
        ]
        body = (await client.get(f"/api/chat/sessions/{session_id}/")).json()
    user, assistant = body["messages"]
    assert user == {
        "id": "u",
        "role": "user",
        "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "data:x"}},
        ],
        "createdAt": "2025-01-27T10:00:00.000Z",
        "depth": 1,
        "parentId": None,
        "siblingIds": ["u"],
    }
    assert assistant == {
        "id": "a",
        "role": "assistant",
        "content": "I see",
        "createdAt": "2025-01-27T10:00:00.000Z",
        "depth": 2,
        "parentId": "u",
        "siblingIds": ["a"],
        "completionId": completion_id,
        "status": "completed",
        "finishReason": "stop",
        "model": "demo",
    }


async def test_health_is_degraded_without_history_and_503_without_an_engine() -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        assert (await client.get("/v1/health")).json()["status"] == "ok"
        world.history.away = True
        degraded = await client.get("/v1/health")
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        world.catalog.put(announcement(ok=False))
        away = await client.get("/v1/health")
        assert (away.status_code, away.json()["status"]) == (503, "unavailable")
        assert away.json()["engines"][0]["state"] == "unavailable"


async def test_probes_say_whether_it_lives_and_takes_work() -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz/")).status_code == 200
        world.broker.connected = False
        assert (await client.get("/readyz")).status_code == 503
        world.broker.connected = True
        world.drain.begin()
        assert (await client.get("/readyz")).json() == {"status": "stopping"}
        assert (await client.get("/healthz")).status_code == 200


async def test_a_sane_request_id_is_kept_and_another_replaced() -> None:
    async with client_of(FakeWorld()) as client:
        kept = await client.get("/healthz", headers={"X-Request-Id": "abc-1"})
        made = await client.get("/healthz", headers={"X-Request-Id": "a b\tc"})
    assert kept.headers["x-request-id"] == "abc-1"
    assert made.headers["x-request-id"].startswith("req_")


async def test_other_origins_are_allowed_only_where_they_are_listed() -> None:
    headers = {"Origin": "https://ours.example", "Access-Control-Request-Method": "POST"}
    async with client_of(FakeWorld()) as client:
        plain = await client.options("/v1/chat/completions", headers=headers)
    settings = quick_settings(cors_origins="https://ours.example, https://b.example")
    async with client_of(FakeWorld(), settings) as client:
        allowed = await client.options("/v1/chat/completions", headers=headers)
        simple = await client.get("/v1/models", headers={"Origin": "https://ours.example"})
    assert "access-control-allow-origin" not in plain.headers
    assert allowed.headers["access-control-allow-origin"] == "https://ours.example"
    assert "X-Completion-Id" in simple.headers["access-control-expose-headers"]


async def test_the_openapi_document_knows_the_request_bodies() -> None:
    async with client_of(FakeWorld()) as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {"ChatCompletionRequest", "RequestMessage", "ErrorBody", "ModelList"} < set(schemas)
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")


async def test_the_openapi_document_promises_no_status_that_never_comes() -> None:
    async with client_of(FakeWorld()) as client:
        document = (await client.get("/openapi.json")).json()
    said = {
        f"{method} {path}": set(operation["responses"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    keyed = {where for where, statuses in said.items() if "422" in statuses}
    faces = ("/api/chat", "/ai-chat/api")
    assert keyed == {
        "post /v1/chat/completions",
        *(
            f"{method} {face}/sessions/{{session_id}}/{path}"
            for face in faces
            for method, path in (
                ("post", "send_message"),
                ("post", "messages/{message_id}/regenerate"),
                ("patch", "messages/{message_id}"),
            )
        ),
    }
    door = {"401", "403", "421", "429"}
    for face in faces:
        messages = said[f"get {face}/sessions/{{session_id}}/messages"]
        assert messages == {"200", "400", "404", "503"} | door
        assert said[f"get {face}/sessions"] == {"200", "400", "503"} | door
        assert "412" in said[f"patch {face}/sessions/{{session_id}}"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("mode", ["open", "required"])
def test_modes_that_tell_callers_apart_listen_anywhere(mode: str) -> None:
    settings = ApiSettings.model_validate({"auth": mode, "host": "::"})
    assert (settings.auth, settings.names) == (mode, [])
    with pytest.raises(ValidationError):
        ApiSettings.model_validate({"auth": "maybe"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_hosts": "*"},
        {"allowed_hosts": "https://a.example"},
        {"allowed_hosts": "a.example:80"},
        {"allowed_hosts": "a.*.example"},
        {"cors_origins": "*"},
        {"cors_origins": "a.example"},
        {"cors_origins": "https://*.example"},
        {"cors_origins": "https://a.example/page"},
        {"cors_origins": "null"},
        {"trusted_proxies": "10.1.2.3/8"},
        {"trusted_proxies": "proxy"},
    ],
)
def test_a_list_that_lets_in_more_than_it_says_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ApiSettings.model_validate(wrong)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "192.168.0.7", "::", "example.org", "", "0", "127.1", "2130706433", "0x7f000001",  # noqa: S104
        "0177.0.0.1", "::ffff:0.0.0.0", "::ffff:192.168.0.7", "[::]", "fe80::1%lo", "127.0.0.1 ",
        "127.0.0.1.example.org", "localhost.example.org",
    ],
)  # fmt: skip
def test_local_mode_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValidationError, match="must be a loopback address"):
        ApiSettings(host=host)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9000")
    monkeypatch.setenv("API_DRAIN_TIMEOUT", "90s")
    monkeypatch.setenv("API_CORS_ORIGINS", "https://a, https://b")
    settings = ApiSettings()
    assert settings.port == 9000
    assert settings.drain_timeout == timedelta(seconds=90)
    assert settings.cors_origins == ["https://a", "https://b"]
    assert ApiSettings(host="::1").host == "::1"
