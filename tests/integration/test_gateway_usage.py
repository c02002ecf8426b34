"""Usage, statistics and status of a gateway over a real history service."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from services.api.access.caller import LOCAL_USER
from services.api.settings import Settings
from shared.clock import utc_now
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import SessionId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker
from tests.fakes.history.conversation import OTHER, Turn, stateless
from tests.fakes.history.running import publish
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

FACES = pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])
PRICES = '{"demo": {"prompt": 1, "completion": 2}}'


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> Settings:
    return quick_settings(nats_server.url, prices=PRICES)


def ended(days_ago: int = 0, **changes: object) -> CompletionCompleted:
    """What a worker has said of this user, so many days ago."""
    end = stateless(user_id=LOCAL_USER)
    return end.model_copy(update={"created_at": utc_now() - timedelta(days=days_ago), **changes})


async def read(gateway: RunningGateway, path: str) -> dict[str, Any]:
    answer = await gateway.http.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@FACES
async def test_usage_is_what_this_user_has_used_and_nobody_else(
    face: str, gateway: RunningGateway, history: None, provisioned: JetStream
) -> None:
    foreign = stateless(user_id=OTHER).model_copy(update={"created_at": utc_now()})
    await publish(provisioned, ended(), ended(29, model="=big"), ended(30), foreign)

    by_day = await read(gateway, f"{face}/usage/")
    by_model = await read(gateway, f"{face}/usage/?group=model")
    table = await gateway.http.get(f"{face}/usage/?group=model&format=csv")

    assert len(by_day["rows"]) == 2
    assert [row["key"] for row in by_model["rows"]] == ["=big", "demo"]
    for answer in (by_day, by_model):
        assert answer["total"]["requests"] == 2
        assert answer["total"]["cost"] == "0.000013"
    _, *lines = csv.reader(io.StringIO(table.text, newline=""))
    assert [(line[0], line[4], line[8]) for line in lines] == [
        ("'=big", "10", "0.000000"),
        ("demo", "10", "0.000013"),
    ]


@FACES
async def test_statistics_say_what_a_user_has_and_uses(
    face: str, gateway: RunningGateway, history: None, provisioned: JetStream
) -> None:
    sessions = f"{face}/sessions/"
    created = await gateway.http.post(sessions, json={})
    turn = Turn(session_id=SessionId(created.json()["id"]), user_id=LOCAL_USER)
    await publish(
        provisioned, turn.accepted(), turn.completed(created_at=utc_now()), stateless(user_id=OTHER)
    )

    stats = await read(gateway, f"{face}/health/stats/")

    assert (stats["sessions"], stats["messages"], stats["requests"]) == (1, 2, 1)
    camel = face == "/api/chat"
    assert stats["firstTokenMsP95" if camel else "first_token_ms_p95"] == 80
    (model,) = stats["byModel" if camel else "by_model"]
    assert model["model"] == "demo"
    assert model["totalTokens" if camel else "total_tokens"] == 10

    assert (await gateway.http.delete(f"{sessions}{turn.session_id}/")).status_code == 204
    after = await read(gateway, f"{face}/health/stats/")
    assert (after["sessions"], after["messages"], after["requests"]) == (0, 0, 1)


async def test_status_says_how_many_requests_wait_or_run(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    async def requests() -> object:
        return (await read(gateway, "/ai-chat/api/status/"))["queue"]["requests"]

    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    answer = asyncio.create_task(gateway.http.post("/v1/chat/completions", json=body))
    job = await worker.take()

    async def one() -> bool:
        return await requests() == 1

    async def none() -> bool:
        return await requests() == 0

    await eventually(one)
    await job.end()
    assert (await answer).status_code == 200
    await eventually(none)


async def test_status_follows_what_dies_and_comes_back(
    gateway: RunningGateway,
    history: None,
    worker: ScriptedWorker,
    mongo: MongoServer,
    nats_server: NatsServer,
) -> None:
    async def state(part: str) -> str:
        return str((await read(gateway, "/api/chat/status/"))[part]["state"])

    async def whole() -> dict[str, Any]:
        found = await read(gateway, "/api/chat/status/")
        return found if found["status"] == "ok" and found["queue"]["requests"] == 0 else {}

    well = await eventually(whole)
    assert (well["models"], well["workers"]["count"]) == (["demo"], 1)
    assert (await read(gateway, "/ai-chat/api/health/llm_server/"))["ok"] is True

    mongo.kill()
    assert await state("history") == "degraded"
    mongo.start()
    nats_server.kill()
    assert await state("broker") == "unavailable"
    assert await state("history") == "unavailable"
    assert (await gateway.http.get("/api/chat/usage/")).status_code == 503
    await nats_server.start()
    await eventually(lambda: _is_ok(gateway), within=20)


async def _is_ok(gateway: RunningGateway) -> bool:
    return bool((await read(gateway, "/api/chat/status/"))["broker"]["state"] == "ok")
