"""``parley users purge`` on a running Parley, as its owner uses it."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Say hello"}]}


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncGenerator[Stack]:
    environment = {"HISTORY_SWEEP_SLACK": "1s"}
    async with Stack(tmp_path / "data", environment=environment) as started:
        yield started


async def users(stack: Stack, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    data = ("--json", "--data-dir", str(stack.data_dir))
    return json.loads(await stack.parley("users", "purge", *arguments, *data))


@pytest.mark.slow
async def test_it_counts_first_and_removes_when_it_is_told_to(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        session = (await http.post("/api/chat/sessions/", json={})).json()["id"]
        reply = await http.post("/v1/chat/completions", json={**ASK, "sessionId": session})
        assert reply.status_code == 200
        listed = await http.get("/api/chat/sessions/")
        assert [it["messageCount"] for it in listed.json()["sessions"]] == [2]

        counted = await users(stack, "local")
        assert counted["state"] == "none"
        assert (counted["data"]["sessions"], counted["data"]["messages"]) == (1, 2)
        shown = await stack.parley("users", "purge", "local", "--data-dir", str(stack.data_dir))
        assert "Nothing was done" in shown
        assert (await http.get("/api/chat/sessions/")).json()["sessions"]

        gone = await users(stack, "local", "--yes")
        assert gone["found"] == counted["data"]
        assert gone["state"] in {"settling", "purged"}
        assert set(gone["data"].values()) == {0}

        async def over() -> bool:
            return bool((await users(stack, "local"))["state"] == "purged")

        await eventually(over, within=30, every=0.5)

        async def admitted() -> bool:
            return (await http.get("/api/chat/sessions/")).is_success

        await eventually(admitted)
        assert (await http.get("/api/chat/sessions/")).json()["sessions"] == []
        assert (await http.post("/v1/chat/completions", json=ASK)).status_code == 200
        again = await users(stack, "local", "--yes")
        assert again["found"]["usage"] == 1


@pytest.mark.slow
async def test_a_name_that_nobody_has_is_nothing_to_do(stack: Stack) -> None:
    assert set((await users(stack, "nobody"))["data"].values()) == {0}
    assert set((await users(stack, "nobody", "--yes"))["data"].values()) == {0}
    await stack.parley("users", "purge", "", "--data-dir", str(stack.data_dir), code=2)
