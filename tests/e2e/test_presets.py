"""Presets, preferences, models and their sync, as a client and a terminal see them."""

import json
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.e2e

CAMEL, SNAKE = "/api/chat", "/ai-chat/api"


async def new_preset(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    reply = await http.post(f"{SNAKE}/presets/", json={"name": "Reviewer", **body})
    assert reply.status_code == 201, reply.text
    created: dict[str, Any] = reply.json()
    return created


async def test_a_preset_becomes_a_session_that_answers(http: httpx.AsyncClient) -> None:
    preset = await new_preset(http, model="demo", temperature=0, system_prompt="Be brief.")

    path = f"{SNAKE}/presets/{preset['id']}/create_session_from_preset/"
    session = (await http.post(path, json={"title": "From a preset"})).json()
    assert (session["title"], session["model"]) == ("From a preset", "demo")
    await http.delete(f"{CAMEL}/presets/{preset['id']}/")

    message = {"role": "user", "content": "[demo tps=0] hello"}
    body = {"model": session["model"], "messages": [message], "sessionId": session["id"]}
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    stored = (await http.get(f"{CAMEL}/sessions/{session['id']}/")).json()
    assert len(stored["messages"]) == 2


async def test_a_preset_is_listed_changed_by_version_and_deleted(http: httpx.AsyncClient) -> None:
    preset = await new_preset(http, name=f"Versioned {uuid.uuid4()}", top_p=0.5, tools=["search"])
    path = f"{CAMEL}/presets/{preset['id']}/"

    changed = await http.patch(path, json={"systemPrompt": "Now.", "version": 1})
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"2"')
    assert (await http.patch(path, json={"topP": 1, "version": 1})).status_code == 409
    assert (
        await http.put(path, json={"name": "x"}, headers={"If-Match": '"1"'})
    ).status_code == 412

    listed = (await http.get(f"{CAMEL}/presets/?limit=200")).json()["presets"]
    (mine,) = [it for it in listed if it["id"] == preset["id"]]
    assert (mine["topP"], mine["systemPrompt"], mine["tools"]) == (0.5, "Now.", ["search"])
    assert (await http.delete(path, headers={"If-Match": '"2"'})).status_code == 204
    assert (await http.get(path)).status_code == 404


async def test_settings_of_models_and_preferences_are_kept(http: httpx.AsyncClient) -> None:
    path = f"{CAMEL}/models/demo-thinking/settings/"
    await http.put(path, json={"temperature": 0.3, "hidden": True})
    await http.put(f"{CAMEL}/preferences/", json={"model": "demo-json"})
    await http.put(f"{CAMEL}/models/default/", json={"model": "demo-tools"})

    models = (await http.get(f"{SNAKE}/models/")).json()

    assert (models["default_model"], models["preferred_model"]) == ("demo-tools", "demo-json")
    assert "demo-thinking" not in [it["id"] for it in models["models"]]
    assert (await http.get(f"{SNAKE}/preferences/")).json()["model"] == "demo-json"
    await http.put(path, json={})
    await http.put(f"{CAMEL}/preferences/", json={})
    await http.put(f"{CAMEL}/models/default/", json={"model": None})


@pytest.fixture
async def engine(stack: Stack) -> AsyncGenerator[httpx.AsyncClient]:
    """The demo engine, which has all of its models again afterwards."""
    async with httpx.AsyncClient(base_url=await stack.address("engine")) as client:
        yield client
        await client.post("/demo/models", json={})
    await sync(stack)


async def sync(stack: Stack) -> dict[str, Any]:
    """``parley models sync --json``."""
    output = await stack.parley("models", "sync", "--json", "--data-dir", str(stack.data_dir))
    synced: dict[str, Any] = json.loads(output)
    return synced


async def test_a_terminal_syncs_models_and_says_what_changed(
    stack: Stack, http: httpx.AsyncClient, engine: httpx.AsyncClient
) -> None:
    await engine.post("/demo/models", json={"absent": ["demo-json"], "renewed": ["demo-tools"]})

    synced = await sync(stack)

    assert synced["failed"] == []
    # Its own check may have been first.
    assert set(synced["removed"]) <= {"demo-json"}
    assert set(synced["updated"]) <= {"demo-tools"}
    offered = [it["id"] for it in (await http.get(f"{CAMEL}/models/")).json()["models"]]
    assert "demo-json" not in offered
    assert "demo-tools" in offered
    said = await stack.parley("models", "sync", "--url", stack.url)
    assert said == "1 worker listed; nothing has changed.\n"


async def test_a_sync_of_nobody_is_a_sentence_and_exit_code_1(stack: Stack) -> None:
    assert await stack.parley("models", "sync", "--url", "http://127.0.0.1:9", code=1) == ""
