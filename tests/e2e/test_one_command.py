"""``parley up`` as a user starts, breaks and stops it."""

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack, alive
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e
KINDS = ("nats", "mongo", "engine", "provision", "history", "worker", "gateway")


async def ask(http: httpx.AsyncClient, text: str, **more: object) -> httpx.Response:
    return await http.post(
        "/v1/chat/completions",
        json={"model": "demo", "messages": [{"role": "user", "content": text}], **more},
    )


@pytest.mark.slow
async def test_ctrl_c_stops_everything_and_a_second_start_finds_yesterdays_data(
    tmp_path: Path,
) -> None:
    first = Stack(tmp_path / "data")
    await first.start()
    listed = await first.ps()
    assert {kind for kind in KINDS if any(p["name"].startswith(kind) for p in listed)} == set(KINDS)
    async with first.client() as http:
        session = (await http.post("/api/chat/sessions/", json={})).json()["id"]
        reply = await ask(http, "[demo tps=0] Remember me", sessionId=session)
        assert reply.status_code == 200, reply.text
    code = await first.stop(signal.SIGINT)

    assert code == 0
    assert [p for p in listed if p["pid"] and alive(p["pid"])] == []

    async with Stack(tmp_path / "data") as second, second.client() as http:
        found = (await http.get(f"/api/chat/sessions/{session}/")).json()
        assert [m["role"] for m in found["messages"]] == ["user", "assistant"]
        spoken = await second.parley("chat", "hello", "--data-dir", str(second.data_dir))
        assert "demo" in spoken.lower()


@pytest.mark.slow
async def test_every_kind_of_child_is_restarted_and_the_way_is_whole_again(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data", "--workers", "2", "--gateways", "2") as stack:
        for kind in ("history", "worker", "provision", "mongo", "engine", "gateway", "nats"):
            before = await stack.pids(kind)
            os.kill(before[0], signal.SIGKILL)

            async def replaced(kind: str = kind, before: list[int] = before) -> bool:
                now = await stack.pids(kind)
                return len(now) == len(before) and before[0] not in now and all(map(alive, now))

            await eventually(replaced, within=20, every=0.1)

        async def answered() -> bool:
            try:
                async with stack.client() as http:
                    reply = await ask(http, "[demo tps=0] still there?")
            except httpx.HTTPError:
                return False
            return reply.status_code == 200

        await eventually(answered, within=40, every=0.2)
        assert any("restart" in line for line in stack.lines)


@pytest.mark.slow
async def test_a_worker_killed_before_the_first_token_costs_only_time(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data", "--workers", "2", environment={"WORKER_ACK_WAIT": "1s"})
    async with stack, stack.client() as http:
        engine = await stack.address("engine")
        async with httpx.AsyncClient(base_url=engine) as witness:
            await witness.post("/demo/gate", json={"closed": True})
            asking = asyncio.create_task(ask(http, "[demo tps=0] survive", temperature=0))

            async def running() -> bool:
                state: dict[str, Any] = (await witness.get("/demo/state")).json()
                return bool(state["running"] == 1)

            await eventually(running)
            for pid in await stack.pids("worker"):
                os.kill(pid, signal.SIGKILL)
            await witness.post("/demo/gate", json={"closed": False})
        reply = await asking

        assert reply.status_code == 200, reply.text
        assert "survive" in reply.json()["choices"][0]["message"]["content"]


@pytest.mark.slow
async def test_models_leave_with_their_worker_and_come_back_with_it(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data") as stack, stack.client() as http:
        models = (await http.get("/v1/models")).json()
        assert models["object"] == "list"
        card = next(model for model in models["data"] if model["id"] == "demo")
        assert card["object"] == "model"
        assert card["contextLength"] > 0
        assert set(card["metadata"]) == {
            "family",
            "format",
            "parameterSize",
            "quantizationLevel",
        }
        assert card["displayLabel"].split()[1] == card["metadata"]["format"]

        (worker,) = await stack.pids("worker")
        os.kill(worker, signal.SIGSTOP)

        async def gone() -> bool:
            return not (await http.get("/v1/models")).json()["data"]

        await eventually(gone, within=16, every=0.1)
        refused = await ask(http, "anyone?")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "no_worker"
        assert (await http.get("/v1/health")).status_code == 503
        os.kill(worker, signal.SIGCONT)

        async def back() -> bool:
            return bool((await http.get("/v1/models")).json()["data"])

        await eventually(back, within=6, every=0.1)
        assert (await http.get("/v1/health")).status_code == 200


async def test_health_names_every_part_with_its_state_and_latency(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data") as stack, stack.client() as http:
        health = (await http.get("/v1/health")).json()

        assert health["status"] == "ok"
        for part in ("nats", "history"):
            assert health[part]["state"] == "ok"
            assert health[part]["latencyMs"] >= 0
        assert health["workers"]
        assert health["engines"][0]["state"] == "ok"


async def test_a_taken_port_is_one_sentence_and_not_a_traceback(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stack = Stack(tmp_path / "data", "--port", str(port))
        with pytest.raises(AssertionError):
            await stack.start()
        code = await stack.stop()

    assert code != 0
    said = "\n".join(stack.lines)
    assert str(port) in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_ACK_WAIT", "soon"),
        ("CHAT_WAITING_DEADLINE", "-3s"),
        ("API_MAX_BODY_BYTES", "lots"),
        ("API_AUTH", "maybe"),
    ],
)
async def test_a_wrong_setting_is_named_and_stops_the_start(
    tmp_path: Path, name: str, value: str
) -> None:
    stack = Stack(tmp_path / "data", environment={name: value})
    with pytest.raises(AssertionError):
        await stack.start()
    code = await stack.stop()

    assert code != 0
    said = "\n".join(stack.lines)
    assert name in said
    assert "Traceback" not in said
    # It is said before anything starts that takes its time.
    assert not (tmp_path / "data" / "logs" / "history.log").exists()
