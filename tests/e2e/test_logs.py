"""What a whole installation writes down of a chat: ids and timings, never what was said."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.nats_server import keys_of
from shared.contracts import subjects
from shared.contracts.identities import Identity
from shared.contracts.ids import new_completion_id
from shared.nkey_seeds import read_seed
from tests.support.nats_keys import connect
from tests.support.socket_client import SocketClient
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e

SECRETS = {
    "message": "tangerine-question",
    "title": "tangerine-title",
    "system": "tangerine-system",
    "regenerated": "tangerine-wording",
    "refused": "tangerine-refused",
    "unknown": "tangerine-type",
    "token": "pk-tangerine",
    "search": "tangerine-search",
}
FRAME = {"timestamp", "level", "event", "logger", "service", "process"}


class Logs:
    """The log files of all processes of one installation."""

    def __init__(self, stack: Stack) -> None:
        self._files = stack.data_dir / "logs"
        self._stack = stack

    def text(self) -> str:
        """All of it, with what the launcher printed."""
        files = [path.read_text(errors="replace") for path in sorted(self._files.iterdir())]
        return "\n".join([*files, *self._stack.lines])

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The JSON lines of one event."""
        found = []
        for line in self.text().splitlines():
            if f'"{name}"' in line:
                entry = json.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncGenerator[Stack]:
    async with Stack(tmp_path / "data") as started:
        yield started


async def _chat(stack: Stack) -> str:
    headers = {"Authorization": f"Bearer {SECRETS['token']}"}
    async with httpx.AsyncClient(base_url=stack.url, timeout=30, headers=headers) as http:
        wanted = {"title": SECRETS["title"], "system_prompt": SECRETS["system"], "model": "demo"}
        session = (await http.post("/ai-chat/api/sessions/", json=wanted)).json()["id"]
        path = f"/ws/ai-chat/session/{session}/?token={SECRETS['token']}"
        async with SocketClient(stack.url, path) as person:
            await person.next()
            await person.say({"type": "send_message", "message": SECRETS["message"]})
            asked = await person.next("user_message")
            await person.next("ai_message_complete")
            assert SECRETS["message"] in person.text  # The demo engine says it again.
            refused = {"message": SECRETS["refused"], "temperature": "hot"}
            await person.say({"type": "send_message", **refused})
            await person.next("error")
            await person.say({"type": SECRETS["unknown"]})
            await person.next("error")
        messages = f"/ai-chat/api/sessions/{session}/messages"
        edit = {"message": SECRETS["regenerated"]}
        edited = await http.patch(f"{messages}/{asked['message']['id']}/", json=edit)
        assert edited.status_code == 200
        found = await http.get("/ai-chat/api/sessions/", params={"search": SECRETS["search"]})
        assert found.status_code == 200
        wrong = await http.post("/v1/chat/completions", json={"model": SECRETS["unknown"]})
        assert wrong.status_code == 400
        return str(session)


@pytest.mark.slow
async def test_each_connection_failure_and_answer_is_one_line_of_ids_and_timings(
    stack: Stack,
) -> None:
    session, logs = await _chat(stack), Logs(stack)
    await eventually(lambda: logs.entries("socket_disconnected"))
    (came,), (went,) = logs.entries("socket_connected"), logs.entries("socket_disconnected")
    assert came["socket"] == went["socket"]
    assert came["session_id"] == went["session_id"] == session
    assert set(came) - FRAME == {"socket", "session_id"}
    assert set(went) - FRAME == {"socket", "session_id", "code", "seconds"}
    failed = logs.entries("socket_message_failed")
    assert [set(line) - FRAME for line in failed] == [{"socket", "code"}] * 2
    asked = logs.entries("completion_ended")
    assert len(asked) == 2
    for line in asked:
        assert {"completion_id", "first_token_ms", "total_ms", "status"} <= set(line)


async def test_nothing_that_was_said_and_no_token_is_written_down(stack: Stack) -> None:
    await _chat(stack)
    logs = Logs(stack)
    await eventually(lambda: len(logs.entries("completion_ended")) == 2)
    await stack.stop()
    text = logs.text()
    assert "http_request" in text
    assert {name for name, secret in SECRETS.items() if secret in text} == set()


FAILURES = {
    "wish": "tangerine-before [demo tokens=tangerine-wish]",
    "half": "Please say tangerine-half [demo tps=0 fault=half@9]",
    "error": "Please say tangerine-error [demo tps=0 fault=error@9]",
    "cut": "Please say tangerine-cut [demo tps=0 fault=cut@9]",
    "500": "Please say tangerine-500 [demo tps=0 fault=500]",
}
WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.tangerine-claims.tangerine-signature"
PROVIDER = "tangerine-provider-key"


async def _fail(stack: Stack, key: str) -> list[str]:
    """Let everything fail that can be made to from outside; gives the secrets that came of it."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=stack.url, timeout=60, headers=headers) as http:
        for text in FAILURES.values():
            # Nobody goes on with an answer in JSON, so that each of these fails.
            body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
            shape = {"response_format": {"type": "json_object"}}
            failed = await http.post("/v1/chat/completions", json={**body, **shape})
            assert failed.status_code >= 400, failed.text
        for token in (WEB_TOKEN, "pk-tangerine-unknown"):
            wrong = {"Authorization": f"Bearer {token}"}
            assert (await http.get("/v1/models", headers=wrong)).status_code == 401
        ticket = (await http.post("/api/chat/tickets")).json()["ticket"]
        for _ in range(2):
            path = f"/ws/ai-chat/sessions/?ticket={ticket}&x=tangerine-query"
            async with SocketClient(stack.url, path):
                pass
    return [key, ticket]


async def _send_rubbish(stack: Stack) -> None:
    """What a broken service could put on the broker."""
    url, keys = await stack.address("nats"), keys_of(stack.data_dir / "nats")
    client = await connect(url.replace("http", "nats"), Identity.GATEWAY, keys=keys)
    rubbish = json.dumps({"text": "tangerine-rubbish", "messages": ["tangerine-rubbish"]}).encode()
    name = new_completion_id()
    jetstream = client.jetstream()
    for subject in (
        subjects.accepted(name),
        subjects.completed(name),
        subjects.requests("demo:latest", "a"),
    ):
        await jetstream.publish(subject, rubbish)
    answer = await client.request(subjects.history("list_sessions"), rubbish, timeout=5)
    assert b"tangerine" not in answer.data
    await client.close()


@pytest.mark.slow
async def test_no_failure_writes_down_what_was_said_and_no_secret(tmp_path: Path) -> None:
    environment = {
        "API_AUTH": "required",
        "API_LOG_LEVEL": "DEBUG",
        "INFERENCE_SERVICE_API_KEY": PROVIDER,
    }
    async with Stack(tmp_path / "data", environment=environment) as stack:
        made = await stack.parley(
            "keys", "create", "--user", "ann", "--json", "--data-dir", str(stack.data_dir)
        )
        secrets = await _fail(stack, json.loads(made)["key"])
        await _send_rubbish(stack)
        logs = Logs(stack)
        await eventually(lambda: logs.entries("event_buried"))
        await eventually(lambda: logs.entries("request_malformed"))
        assert logs.entries("engine_refused")
        assert len(logs.entries("completion_ended")) == len(FAILURES)
        keys = keys_of(stack.data_dir / "nats")
        secrets += [read_seed(keys.file(identity)) for identity in Identity]
        await stack.stop()
        text = logs.text()
    assert [secret for secret in secrets if secret in text] == []
    assert "tangerine" not in text
    assert WEB_TOKEN.split(".")[0] not in text
