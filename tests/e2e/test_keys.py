"""``parley keys`` on a running Parley that asks for keys, as its owner uses it."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.socket_client import SocketClient
from tests.support.stack import PARLEY, Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Say hello"}]}


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncGenerator[Stack]:
    environment = {"API_AUTH": "required", "API_LOG_LEVEL": "DEBUG"}
    async with Stack(tmp_path / "data", environment=environment) as stack:
        yield stack


async def parley(
    *arguments: str | Path, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a command; its exit code, and what it prints and complains."""
    process = await asyncio.create_subprocess_exec(
        PARLEY, *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},  # noqa: TID251 - a user's own environment
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def keys(stack: Stack, command: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """``parley keys … --json``."""
    code, out, err = await parley(
        "keys", command, *arguments, "--json", "--data-dir", stack.data_dir
    )
    assert code == 0, err
    return json.loads(out)


async def status(client: httpx.AsyncClient, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return (await client.get("/v1/models", headers=headers)).status_code


async def test_the_first_administrator_makes_himself_and_keys_live_and_die(closed: Stack) -> None:
    boss = await keys(closed, "create", "--user", "boss", "--admin")
    made = await keys(
        closed, "create", "--user", "alice", "--name", "laptop", "--rpm", "60",
        "--concurrent", "5", "--models", "de*,llama*", "--expires", "90d",
    )  # fmt: skip
    assert made["key"].startswith("pk-")
    assert made["user"] == "alice"
    assert (made["requestsPerMinute"], made["concurrent"]) == (60, 5)
    assert made["models"] == ["de*", "llama*"]
    async with closed.client() as client:

        async def works() -> bool:
            return [await status(client, key["key"]) for key in (boss, made)] == [200, 200]

        await eventually(works, within=2)
        assert await status(client, None) == 401
        head = {"Authorization": f"Bearer {made['key']}"}
        answer = await client.post("/v1/chat/completions", json=ASK, headers=head)
        assert answer.status_code == 200
        assert (await client.get("/api/chat/keys/", headers=head)).status_code == 403
        chatted = await parley(
            "chat", "Say hello", "--data-dir", closed.data_dir,
            environment={"PARLEY_API_KEY": made["key"]},
        )  # fmt: skip
        assert chatted[0] == 0, chatted[2]

        listed = await keys(closed, "list")
        assert [key["user"] for key in listed] == ["boss", "alice"]
        assert all("key" not in key for key in listed)
        assert (await keys(closed, "list", "--user", "alice"))[0]["id"] == made["id"]
        _, table, _ = await parley("keys", "list", "--data-dir", closed.data_dir)
        assert "laptop" in table
        assert made["key"] not in table

        revoked = await keys(closed, "revoke", made["id"])
        assert revoked["revokedAt"]

        async def refused() -> bool:
            return await status(client, made["key"]) == 401

        await eventually(refused, within=1)
        assert await status(client, boss["key"]) == 200
    code, _, err = await parley("keys", "create", "--user", "", "--data-dir", closed.data_dir)
    assert (code, err.partition(":")[2].partition(":")[0]) == (2, " --user")
    code, _, err = await parley("keys", "revoke", "nobody", "--data-dir", closed.data_dir)
    assert code == 1
    assert err == "parley: There is no such key.\n"


@pytest.mark.slow
async def test_no_log_and_no_error_has_a_key(closed: Stack) -> None:
    made = await keys(closed, "create", "--user", "alice")
    secret = made["key"]
    async with closed.client() as client:

        async def works() -> bool:
            return await status(client, secret) == 200

        await eventually(works, within=2)
        for token in (secret, "pk-never-seen-before", f"{secret}x"):
            for headers in (
                {"Authorization": f"Bearer {token}"},
                {"Authorization": f"Token {token}"},
            ):
                for path in ("/v1/models", "/v1/models/none", "/api/chat/sessions/?limit=x", "/no"):
                    reply = await client.get(path, headers=headers)
                    assert token not in reply.text
                    assert token not in str(reply.headers)
            async with SocketClient(closed.url, f"/ws/ai-chat/sessions/?token={token}") as person:
                if token == secret:
                    await person.next("connection_established")
                else:
                    assert await person.closed() == 4401
            # In the wrong place, where clients put it by mistake.
            await client.get(f"/v1/models?token={token}&api_key={token}")
    await keys(closed, "revoke", made["id"])
    await closed.stop()
    logs = list((closed.data_dir / "logs").iterdir())
    assert any(log.name.startswith("gateway") and log.stat().st_size for log in logs)
    for file in (*logs, *(closed.data_dir / "run").iterdir()):
        text = file.read_bytes()
        assert secret[3:].encode() not in text, file.name
        assert b"never-seen-before" not in text, file.name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "--user", "a", "--expires", "soon"], "--expires reads like 90d"),
        (["create", "--user", "a"], "Parley does not run on"),
        (["list"], "Parley does not run on"),
    ],
)
async def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    code, _, err = await parley("keys", *arguments, "--data-dir", tmp_path)
    assert code in {1, 2}
    assert sentence in err
    assert "Traceback" not in err
