"""What callers with keys meet at a gateway: models, names of requests, and what the audit says."""

import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.api.settings import Settings
from shared.contracts.api_keys import KeyCopy, digest_of, new_secret
from shared.contracts.completions import RunCompletion
from shared.contracts.ids import UserId
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.worker import announcement
from tests.fakes.api.world import FakeWorld, client_of

FACES = ("/api/chat", "/ai-chat/api")
ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def settings() -> Settings:
    return quick_settings(auth="required")


def world_with(*models: str, patterns: list[str] | None = None) -> tuple[FakeWorld, dict[str, str]]:
    """Live workers with ``models`` besides ``demo``, and the head of somebody with a key."""
    world, secret = FakeWorld(), new_secret()
    world.history = WholeHistory()
    world.answer("so")
    card = announcement().models[0]
    cards = [card.model_copy(update={"name": f"{model}:latest"}) for model in models]
    if cards:
        world.catalog.put(announcement("w2").model_copy(update={"models": cards}))
    copy = KeyCopy(id="k1", user_id=UserId("ann"), models=patterns)
    world.key_ring.replace({digest_of(secret): copy}, 1)
    return world, {"Authorization": f"Bearer {secret}"}


def audited(lines: list[Any]) -> list[tuple[str, str]]:
    return [(it["object"], it["outcome"]) for it in lines if it["event"] == "audit"]


@pytest.mark.parametrize("face", FACES)
async def test_who_names_no_model_is_given_one_that_the_key_may_ask(
    face: str, settings: Settings
) -> None:
    world, head = world_with("llama", patterns=["llama*"])
    async with client_of(world, settings) as client:
        path = f"{face}/sessions/"
        session = (await client.post(path, json={}, headers=head)).json()["id"]
        path += f"{session}/send_message/"
        told = await client.post(path, json={"message": "Hi"}, headers=head)
        listed = (await client.get(f"{face}/models/", headers=head)).json()
    assert told.status_code == 200, told.text
    (asked,) = world.queue.requests.values()
    assert RunCompletion.from_bytes(asked).model == "llama:latest"
    default = listed.get("defaultModel") or listed.get("default_model")
    assert (default, [model["id"] for model in listed["models"]]) == ("llama", ["llama"])


async def test_who_names_no_model_and_may_ask_no_default_is_told_why(settings: Settings) -> None:
    world, head = world_with(patterns=["llama*"])
    async with client_of(world, settings) as client:
        session = (await client.post("/api/chat/sessions/", json={}, headers=head)).json()["id"]
        path = f"/api/chat/sessions/{session}/send_message/"
        with capture_logs() as lines:
            told = await client.post(path, json={"message": "Hi"}, headers=head)
    error = told.json()["error"]
    assert (told.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["message"] == (
        "No model is named, and this API key may ask none of the default ones."
    )
    target = "POST /api/chat/sessions/{session_id}/send_message"
    assert audited(lines) == [(target, "model_not_permitted")]


async def test_a_key_that_is_refused_a_model_is_audited_and_told_nothing_more(
    settings: Settings,
) -> None:
    world, head = world_with(patterns=["llama*"])
    with capture_logs() as lines:
        async with client_of(world, settings) as client:
            asked = await client.post("/v1/chat/completions", json=ASK, headers=head)
            read = await client.get("/v1/models/demo", headers=head)
            absent = await client.get("/v1/models/none", headers=head)
    assert asked.json()["error"]["code"] == "model_not_found"
    assert (read.status_code, read.json()) == (404, absent.json())
    assert audited(lines) == [
        ("POST /v1/chat/completions", "model_not_permitted"),
        ("GET /v1/models/{model_id:path}", "model_not_permitted"),
    ]
    (line, _) = [it for it in lines if it["event"] == "audit"]
    assert (line["actor"], line["key_id"]) == ("ann", "k1")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-1", "abc-1"),
        ("req_" + "0" * 32, "req_" + "0" * 32),
        ("a b", None),
        ("x" * 129, None),
        ('a"}\u00e9', None),
        ("", None),
    ],
)
async def test_no_client_chooses_the_name_of_its_request_in_the_audit(
    sent: str, kept: str | None, settings: Settings
) -> None:
    world, _ = world_with()
    with capture_logs() as lines:
        async with client_of(world, settings) as client:
            name = sent.encode("latin-1")
            answer = await client.get("/v1/models", headers={b"X-Request-Id": name})
    (line,) = [it for it in lines if it["event"] == "audit"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", line["request_id"])
    assert line["sent_request_id"] == kept
    assert answer.headers["x-request-id"] == (kept or line["request_id"])
    assert line["request_id"] != sent


async def test_two_names_of_a_request_are_none(settings: Settings) -> None:
    world, _ = world_with()
    async with client_of(world, settings) as client:
        names = [("X-Request-Id", "one"), ("X-Request-Id", "two")]
        answer = await client.get("/healthz", headers=names)
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_escaped_slash_at_the_end_belongs_to_the_name(settings: Settings) -> None:
    world, head = world_with()
    async with client_of(world, settings) as client:
        found = [
            (await client.get(f"/v1/models/demo{end}", headers=head)).status_code
            for end in ("", "/", "//", "%2f", "%2F", "%2f/")
        ]
        # What everybody may ask is asked by its name.
        health = [(await client.get(f"/healthz{end}")).status_code for end in ("/", "%2f")]
    assert found == [200, 200, 200, 404, 404, 404]
    assert health == [200, 401]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("mode", "token", "status"),
    [("open", False, 401), ("open", True, 200), ("required", False, 401), ("required", True, 200)],
)
async def test_a_sync_is_for_all_who_are_known_and_for_no_stranger(
    face: str, mode: str, token: bool, status: int
) -> None:
    world, head = world_with()
    async with client_of(world, quick_settings(auth=mode)) as client:
        for end in ("/", "", "//"):
            path = f"{face}/models/sync_models{end}"
            answer = await client.post(path, headers=head if token else {})
            assert answer.status_code == status, answer.text
