"""Administrative acts and refusals as one JSON line each, in the logs of real processes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.socket_client import SocketClient
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e

FIELDS = {
    "timestamp", "level", "event", "logger", "service", "action", "actor", "via", "key_id",
    "address", "request_id", "sent_request_id", "object", "user", "outcome", "count",
}  # fmt: skip
NAME = "tangerine"
"""What people make up: names, titles, prompts."""


class Audit:
    """Its lines in the log files of an installation."""

    def __init__(self, stack: Stack) -> None:
        self._files = stack.data_dir / "logs"

    def text(self) -> str:
        """Everything that was logged."""
        files = sorted(self._files.iterdir())
        return "\n".join(path.read_text(errors="replace") for path in files)

    def lines(self, action: str, **wanted: object) -> list[dict[str, Any]]:
        """Those of one action that say so, each with all fields and no others."""
        found = []
        for line in self.text().splitlines():
            if f'"{action}"' not in line or not line.startswith("{"):
                continue
            entry = json.loads(line)
            if entry["event"] == "audit" and entry["action"] == action:
                assert set(entry) - {"process"} == FIELDS, entry
                if all(entry[name] == value for name, value in wanted.items()):
                    found.append(entry)
        return found

    async def one(self, action: str, **wanted: object) -> dict[str, Any]:
        """The only one, once it is there."""
        (line,) = await eventually(lambda: self.lines(action, **wanted))
        return line


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncGenerator[Stack]:
    # No level silences the audit.
    environment = {"API_AUTH": "required", "API_LOG_LEVEL": "ERROR"}
    async with Stack(tmp_path / "data", environment=environment) as started:
        yield started


async def keys(stack: Stack, command: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    data = ("--json", "--data-dir", str(stack.data_dir))
    return json.loads(await stack.parley("keys", command, *arguments, *data))


@pytest.fixture
async def boss(stack: Stack) -> AsyncGenerator[httpx.AsyncClient]:
    made = await keys(stack, "create", "--user", "boss", "--admin", "--name", NAME)
    head = {"Authorization": f"Bearer {made['key']}", "X-Request-Id": "req-of-the-boss"}
    async with httpx.AsyncClient(base_url=stack.url, headers=head, timeout=30) as http:

        async def admitted() -> bool:
            return (await http.get("/v1/models")).is_success

        await eventually(admitted)
        yield http


async def test_every_act_says_who_did_what_to_which(stack: Stack, boss: httpx.AsyncClient) -> None:
    audit = Audit(stack)
    by_cli = await audit.one("admin_key.create", user="boss")
    assert (by_cli["via"], by_cli["actor"], by_cli["outcome"]) == ("cli", None, "done")
    assert by_cli["service"] == "history"
    key_id = by_cli["object"].removeprefix("key:")

    made = (await boss.post("/api/chat/keys/", json={"user": "ann", "name": NAME})).json()
    act = await audit.one("key.create")
    assert (act["actor"], act["via"], act["key_id"]) == ("boss", "http", key_id)
    assert (act["address"], act["sent_request_id"]) == ("127.0.0.1", "req-of-the-boss")
    assert act["request_id"].startswith("req_")
    assert (act["object"], act["user"]) == (f"key:{made['id']}", "ann")

    assert (await boss.delete(f"/api/chat/keys/{made['id']}/")).status_code == 204
    assert (await audit.one("key.revoke"))["actor"] == "boss"
    assert (await boss.delete("/api/chat/keys/nobodys/")).status_code == 404
    assert (await audit.one("key.revoke", outcome="key_not_found"))["object"] == "key:nobodys"
    await keys(stack, "revoke", made["id"])
    assert await audit.one("key.revoke", via="cli", user="ann")

    settings = {"temperature": 0.5, "hidden": False}
    assert (await boss.put("/api/chat/models/demo/settings/", json=settings)).is_success
    assert (await audit.one("model_settings.set"))["object"] == "model:demo:latest"
    assert (await boss.put("/api/chat/models/default/", json={"model": "demo"})).is_success
    assert (await audit.one("default_model.set"))["object"] == "model:demo:latest"
    assert (await boss.put("/api/chat/models/default/", json={"model": None})).is_success
    assert await audit.one("default_model.clear", actor="boss")
    assert (await boss.post("/api/chat/models/sync_models/")).is_success
    assert await audit.one("models.sync", actor="boss", service="api")

    wanted = {"name": NAME, "systemPrompt": NAME, "public": True}
    preset = (await boss.post("/api/chat/presets/", json=wanted)).json()["id"]
    assert (await audit.one("public_preset.create"))["object"] == f"preset:{preset}"
    assert (await boss.patch(f"/api/chat/presets/{preset}/", json={"name": "x"})).is_success
    assert await audit.one("public_preset.change", actor="boss")
    assert (await boss.patch(f"/api/chat/presets/{preset}/", json={"public": False})).is_success
    assert await audit.one("preset.make_private", actor="boss")
    private = {"name": NAME, "systemPrompt": NAME}
    assert (await boss.post("/api/chat/presets/", json=private)).is_success
    assert (await boss.put(f"/api/chat/presets/{preset}/", json=private)).is_success
    assert (await boss.put(f"/api/chat/presets/{preset}/", json=wanted)).is_success
    assert len(await eventually(lambda: audit.lines("public_preset.change"))) == 2
    assert (await boss.put(f"/api/chat/presets/{preset}/", json=private)).is_success
    assert (await boss.delete(f"/api/chat/presets/{preset}/")).is_success
    made_private = await eventually(lambda: audit.lines("preset.make_private"))
    assert len(made_private) == 2
    assert audit.lines("public_preset.delete") == []
    assert len(audit.lines("public_preset.create")) == 1

    await stack.parley("users", "purge", "ann", "--yes", "--data-dir", str(stack.data_dir))
    assert (await audit.one("user.purge"))["object"] == "user:ann"
    secret = boss.headers["Authorization"].removeprefix("Bearer ")
    assert made["key"] not in audit.text()
    assert secret not in audit.text()
    assert NAME not in audit.text()


@pytest.mark.slow
async def test_refusals_say_who_was_refused_and_why_and_a_flood_is_one_line(
    stack: Stack, boss: httpx.AsyncClient
) -> None:
    audit = Audit(stack)
    # What was refused until the boss's key was known is not what this is about.
    told = len(audit.lines("request.refuse", outcome="invalid_api_key"))
    ann = await keys(stack, "create", "--user", "ann")
    head = {"Authorization": f"Bearer {ann['key']}"}
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:

        async def admitted() -> bool:
            return (await http.get("/v1/models", headers=head)).is_success

        await eventually(admitted)
        assert (await http.get("/api/chat/keys/", headers=head)).status_code == 403
        line = await audit.one("request.refuse", outcome="insufficient_permissions")
        assert (line["actor"], line["address"]) == ("ann", "127.0.0.1")
        assert line["object"] == "GET /api/chat/keys"
        assert line["request_id"].startswith("req_")
        assert line["sent_request_id"] is None

        foreign = {**head, "Origin": "https://evil.example"}
        assert (await http.post("/api/chat/sessions/", headers=foreign)).status_code == 403
        assert (await audit.one("request.refuse", outcome="wrong_origin"))["actor"] is None
        wrong = {**head, "Host": f"{NAME}.example"}
        assert (await http.get("/v1/models", headers=wrong)).status_code == 421
        assert await audit.one("request.refuse", outcome="wrong_host")

        bad = {"Authorization": f"Bearer pk-{NAME}"}
        replies = await asyncio.gather(*(http.get(f"/{NAME}/{n}", headers=bad) for n in range(200)))
    assert {reply.status_code for reply in replies} == {401}
    async with SocketClient(stack.url, f"/ws/ai-chat/sessions/?token=pk-{NAME}") as person:
        assert await person.closed() == 4401
    assert len(audit.lines("request.refuse", outcome="invalid_api_key")) <= max(told, 1) + 1

    async with SocketClient(stack.url, f"/ws/ai-chat/sessions/?token={ann['key']}") as person:
        await person.next("connection_established")
        await keys(stack, "revoke", ann["id"])
        assert await person.closed() == 4401
    closed = await audit.one("socket.close", outcome="credentials_ended")
    assert (closed["actor"], closed["via"]) == ("ann", "websocket")
    assert closed["object"] == "WEBSOCKET /ws/ai-chat/sessions"

    await stack.stop()
    counted = audit.lines("request.refuse", outcome="invalid_api_key")
    assert sum(line["count"] for line in counted) >= 201
    assert len(counted) <= 4
    assert NAME not in audit.text()


@pytest.mark.slow
async def test_what_is_asked_for_in_vain_at_a_socket_is_told_too(stack: Stack) -> None:
    audit = Audit(stack)
    carl = await keys(stack, "create", "--user", "carl", "--rpm", "1")
    head = {"Authorization": f"Bearer {carl['key']}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=head, timeout=30) as http:

        async def session() -> str:
            made = await http.post("/api/chat/sessions/", json={"title": NAME, "model": "demo"})
            return str(made.json()["id"]) if made.is_success else ""

        session_id = await eventually(session)
    path = f"/ws/ai-chat/session/{session_id}/?token={carl['key']}"
    async with SocketClient(stack.url, path) as person:
        await person.say({"type": "send_message", "message": NAME})
        await person.next("ai_message_complete")
        await person.say({"type": "send_message", "message": NAME})
        assert (await person.next("error"))["code"] == "rate_limit_exceeded"
    told = await audit.one("request.refuse", actor="carl", outcome="rate_limit_exceeded")
    assert (told["via"], told["address"]) == ("websocket", "127.0.0.1")
    assert told["object"] == "WEBSOCKET /ws/ai-chat/session/{session_id}"
    assert NAME not in audit.text()
