"""What a whole installation writes down of a chat: ids and timings, never what was said."""

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
