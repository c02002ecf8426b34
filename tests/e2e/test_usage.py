"""What was asked and answered is counted, priced and shown, as a user sees it."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

FACES = pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])


async def ask(http: httpx.AsyncClient, **more: object) -> dict[str, int]:
    body = {"model": "demo", "messages": [{"role": "user", "content": "[demo tps=0] hi"}], **more}
    reply = await http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    usage: dict[str, int] = reply.json()["usage"]
    return usage


async def get(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    reply = await http.get(path)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


@FACES
async def test_an_answer_is_in_usage_as_soon_as_it_has_ended(
    http: httpx.AsyncClient, face: str
) -> None:
    total = "totalTokens" if face == "/api/chat" else "total_tokens"
    before = (await get(http, f"{face}/usage/?group=model"))["total"]

    used = await ask(http)

    after = await get(http, f"{face}/usage/?group=model")
    assert after["total"]["requests"] == before["requests"] + 1
    assert after["total"][total] == before[total] + used["total_tokens"]
    assert after["total"]["cost"] == "0.000000"
    assert "demo" in [row["key"] for row in after["rows"]]


async def test_statistics_count_the_session_and_its_messages(http: httpx.AsyncClient) -> None:
    before = await get(http, "/api/chat/health/stats/")
    session = (await http.post("/api/chat/sessions/", json={})).json()["id"]
    await ask(http, sessionId=session)

    after = await get(http, "/api/chat/health/stats/")

    assert after["sessions"] == before["sessions"] + 1
    assert after["messages"] == before["messages"] + 2
    assert after["requests"] == before["requests"] + 1
    assert after["firstTokenMsP95"] >= 0
    assert after["byDay"][-1]["key"] == datetime.now(UTC).date().isoformat()


async def test_a_table_is_a_download(http: httpx.AsyncClient) -> None:
    await ask(http)

    reply = await http.get("/ai-chat/api/usage/?format=csv")

    assert reply.headers["content-disposition"].startswith('attachment; filename="usage-')
    header, *lines = reply.text.split("\r\n")[:-1]
    assert header.split(",")[0] == "day"
    assert lines


@FACES
async def test_engines_and_status_are_ok_while_all_runs(http: httpx.AsyncClient, face: str) -> None:
    engines = await get(http, f"{face}/health/llm_server/")
    status = await get(http, f"{face}/status/")

    assert (engines["ok"], engines["status"]) == (True, "ok")
    assert "demo" in engines["models"]
    assert engines["workers"]
    assert {status[part]["state"] for part in ("gateway", "broker", "history", "workers")} == {"ok"}


async def test_impossible_days_are_refused(http: httpx.AsyncClient) -> None:
    reply = await http.get("/api/chat/usage/?from=2026-02-30")

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "from"
