"""Presets, preferences and their races over two gateways, a real history service and a database."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.worker import ScriptedWorker
from tests.fakes.history.running import history_settings, running_history
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer

pytestmark = pytest.mark.integration

CAMEL, SNAKE = "/api/chat", "/ai-chat/api"


@pytest.fixture(autouse=True)
async def history(
    worker: ScriptedWorker, client: Client, nats_server: NatsServer, tmp_path: Path
) -> AsyncGenerator[None]:
    with MongoServer(tmp_path / "mongo") as mongo:
        async with running_history(history_settings(nats_server.url, mongo.url), client):
            yield


async def test_a_preset_made_at_one_gateway_is_used_at_another(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    wanted = {"name": "Reviewer", "model": "demo", "systemPrompt": "Be strict.", "topP": 0.5}
    made = (await gateway.http.post(f"{CAMEL}/presets/", json=wanted)).json()
    assert made["version"] == 1

    read = (await other.http.get(f"{SNAKE}/presets/{made['id']}/")).json()
    assert (read["system_prompt"], read["top_p"], read["mine"]) == ("Be strict.", 0.5, True)
    path = f"{SNAKE}/presets/{made['id']}/create_session_from_preset/"
    session = await other.http.post(path, json={"title": "Review"})
    assert session.status_code == 201
    assert (session.json()["title"], session.json()["model"]) == ("Review", "demo")
    stored = await gateway.http.get(f"{CAMEL}/sessions/{session.json()['id']}/")
    assert (stored.json()["title"], stored.json()["presetId"]) == ("Review", made["id"])
    assert {name: stored.json()[name] for name in ("model", "systemPrompt", "topP")} == {
        name: wanted[name] for name in ("model", "systemPrompt", "topP")
    }


async def test_of_all_who_change_one_version_one_succeeds(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    made = (await gateway.http.post(f"{CAMEL}/presets/", json={"name": "Contested"})).json()
    path = f"{CAMEL}/presets/{made['id']}/"

    replies = await asyncio.gather(
        *(
            (gateway, other)[number % 2].http.patch(
                path, json={"description": str(number)}, headers={"If-Match": '"1"'}
            )
            for number in range(8)
        )
    )

    statuses = [reply.status_code for reply in replies]
    assert sorted(statuses) == [200] + [412] * 7
    now = (await gateway.http.get(path)).json()
    assert (now["version"], now["description"]) == (2, str(statuses.index(200)))


async def test_a_list_pages_and_forgets_what_is_deleted(gateway: RunningGateway) -> None:
    made = [
        (await gateway.http.post(f"{CAMEL}/presets/", json={"name": f"P{n}", "public": n == 1}))
        for n in range(3)
    ]
    await gateway.http.delete(f"{CAMEL}/presets/{made[0].json()['id']}/")

    first = (await gateway.http.get(f"{CAMEL}/presets/?limit=1")).json()
    rest = await gateway.http.get(
        f"{CAMEL}/presets/", params={"limit": 1, "cursor": first["nextCursor"]}
    )

    assert [it["name"] for it in (*first["presets"], *rest.json()["presets"])] == ["P1", "P2"]
    assert rest.json()["nextCursor"] is None


async def test_preferences_are_kept(gateway: RunningGateway, other: RunningGateway) -> None:
    wanted = {"model": "demo", "temperature": 0, "tools": ["search"]}
    await gateway.http.put(f"{CAMEL}/preferences/", json=wanted)

    stored = (await other.http.get(f"{SNAKE}/preferences/")).json()

    assert {name: stored[name] for name in wanted} == wanted
    assert stored["system_prompt"] is None
