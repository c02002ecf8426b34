"""Bad input and bad luck: the right status, OpenAI's body, and nothing half stored."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e
NOBODYS = "0192f0a0-7b1c-7000-8000-000000000001"
USER = {"role": "user", "content": "[demo tps=0] Hello"}


class Bad(NamedTuple):
    name: str
    body: bytes | dict[str, Any]
    status: int
    code: str
    param: str | None = None


NONSENSE = {"name": "n", "schema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}}


def with_text(text: str) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}]}


def good(**more: object) -> dict[str, Any]:
    return {"model": "demo", "messages": [USER], **more}


TABLE = [
    Bad("not JSON", b"{'model': 'demo'}", 400, "invalid_request"),
    Bad("an empty body", b"", 400, "invalid_request"),
    Bad("not an object", b"[1, 2]", 400, "invalid_request"),
    Bad("NaN", b'{"model":"demo","messages":[],"temperature":NaN}', 400, "invalid_request"),
    Bad("a JSON bomb", b"[" * 200_000, 400, "invalid_request"),
    Bad("a number as model", good(model=7), 400, "invalid_request", "model"),
    Bad("no model", {"messages": [USER]}, 400, "invalid_request", "model"),
    Bad("messages as text", good(messages="Hello"), 400, "invalid_request", "messages"),
    Bad("empty messages", good(messages=[]), 400, "invalid_request", "messages"),
    Bad(
        "an unknown role",
        good(messages=[{"role": "wizard", "content": "x"}]),
        400,
        "invalid_request",
        "messages.0.role",
    ),
    Bad("stream as text", good(stream="perhaps"), 400, "invalid_request", "stream"),
    Bad("an unknown model", good(model="no-such-model"), 404, "model_not_found", "model"),
    Bad("too hot", good(temperature=2.1), 400, "invalid_request", "temperature"),
    Bad("below zero", good(temperature=-0.1), 400, "invalid_request", "temperature"),
    Bad("top_p over one", good(top_p=1.5), 400, "invalid_request"),
    Bad("no tokens wanted", good(max_tokens=0), 400, "invalid_request"),
    Bad("five stop strings", good(stop=list("abcde")), 400, "invalid_request", "stop"),
    Bad("over the body limit", with_text("x" * (6 * 2**20)), 413, "request_too_large"),
    Bad(
        "over the window",
        {**with_text("word " * 2000), "model": "demo-small"},
        400,
        "context_length_exceeded",
        "messages",
    ),
    Bad(
        "a schema of which the engine can make nothing",
        good(response_format={"type": "json_schema", "json_schema": NONSENSE}),
        400,
        "invalid_request",
        "response_format",
    ),
    Bad("NUL in text", with_text("a\x00b"), 400, "invalid_request"),
    Bad("NUL in the model", good(model="de\x00mo"), 400, "invalid_request", "model"),
    Bad(
        "a lone surrogate",
        b'{"model":"demo","messages":[{"role":"user","content":"\\ud800"}]}',
        400,
        "invalid_request",
    ),
    Bad(
        "bytes that are no UTF-8",
        b'{"model":"demo","messages":[{"role":"user","content":"\xff\xfe"}]}',
        400,
        "invalid_request",
    ),
    Bad("an unknown session", good(sessionId=NOBODYS), 404, "session_not_found"),
    Bad("a malformed session id", good(sessionId="x' or 1=1"), 400, "invalid_request"),
    Bad("an engine that closes at once", with_text("[demo fault=cut@0] x"), 503, ""),
    Bad("an engine that fails", with_text("[demo fault=500] x"), 502, "engine_error"),
    Bad("an engine that is busy", with_text("[demo fault=busy] x"), 503, "engine_busy"),
]


def assert_is_an_openai_error(reply: httpx.Response) -> dict[str, Any]:
    assert set(reply.json()) == {"error"}
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert reply.headers["x-request-id"]
    return error


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("bad", TABLE, ids=[bad.name for bad in TABLE])
async def test_a_bad_request_gets_its_status_and_an_openai_body(
    http: httpx.AsyncClient, bad: Bad, streaming: bool
) -> None:
    if isinstance(bad.body, bytes):
        content = bad.body
    else:
        content = json.dumps({"stream": streaming, **bad.body}).encode()

    reply = await http.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )

    assert reply.status_code == bad.status, reply.text
    error = assert_is_an_openai_error(reply)
    if bad.code:
        assert error["code"] == bad.code
    if bad.param:
        assert error["param"] == bad.param


@pytest.mark.parametrize(
    "bad", [bad for bad in TABLE if isinstance(bad.body, dict)], ids=lambda bad: bad.name
)
async def test_a_refused_request_stores_nothing_in_its_session(
    http: httpx.AsyncClient, bad: Bad
) -> None:
    assert isinstance(bad.body, dict)
    session = (await http.post("/api/chat/sessions/", json={})).json()
    body = {"sessionId": session["id"], **bad.body}

    reply = await http.post("/v1/chat/completions", json=body)

    assert reply.status_code == bad.status, reply.text
    found = (await http.get(f"/api/chat/sessions/{session['id']}/")).json()
    reached_an_engine = "engine" in bad.name or "window" in bad.name
    roles = [message["role"] for message in found["messages"]]
    # What an engine refused was asked all the same; the rest never happened.
    assert roles == (["user"] if reached_an_engine else [])
    # And the session is free for the next turn.
    again = await http.post("/v1/chat/completions", json=good(sessionId=session["id"]))
    assert again.status_code == 200, again.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/no-such-thing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/no-such-model", 404),
        ("GET", "/api/chat/sessions/?cursor=nonsense", 400),
        ("GET", "/api/chat/sessions/?limit=-1", 400),
        ("DELETE", "/api/chat/sessions/not-a-uuid/", 400),
        ("PUT", f"/api/chat/sessions/{NOBODYS}/", 400),
    ],
)
async def test_every_address_answers_errors_in_the_same_form(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    reply = await http.request(method, path)

    assert reply.status_code == status, reply.text
    assert_is_an_openai_error(reply)


async def test_text_is_otherwise_untouched(http: httpx.AsyncClient) -> None:
    strange = "\u202e‮ \x07 \x7f ﷽ 👩‍👩‍👧 e\u0301 \r\n\t data: x\n\nevent: y \u2028"
    session = (await http.post("/api/chat/sessions/", json={})).json()["id"]

    reply = await http.post(
        "/v1/chat/completions", json={**with_text(strange), "sessionId": session}
    )

    assert reply.status_code == 200
    found = (await http.get(f"/api/chat/sessions/{session}/")).json()
    assert found["messages"][0]["content"] == strange


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncGenerator[Stack]:
    """One slot, a queue of two, short deadlines."""
    environment = {
        "WORKER_SLOTS": "1",
        "PROVISION_QUEUE_LIMIT": "2",
        "CHAT_WAITING_DEADLINE": "2s",
        "CHAT_GENERATING_DEADLINE": "12s",
    }
    async with Stack(tmp_path / "data", environment=environment) as stack:
        yield stack


@pytest.mark.slow
async def test_a_full_queue_a_long_wait_and_a_long_answer_all_end_clearly(narrow: Stack) -> None:
    async with (
        narrow.client() as http,
        httpx.AsyncClient(base_url=await narrow.address("engine")) as engine,
    ):
        await engine.post("/demo/gate", json={"closed": True})
        endless = asyncio.create_task(http.post("/v1/chat/completions", json=with_text("endless")))

        async def running() -> bool:
            return bool((await engine.get("/demo/state")).json()["running"])

        await eventually(running)
        # Two places in each lane: one runs, one waits beside it, two wait in the other lane.
        replies = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=with_text("waits")) for _ in range(6))
        )
        codes = [assert_is_an_openai_error(reply)["code"] for reply in replies]
        assert sorted(reply.status_code for reply in replies) == [429] * 3 + [504] * 3
        assert sorted(codes) == ["deadline_exceeded"] * 3 + ["queue_full"] * 3
        assert all(int(r.headers["retry-after"]) > 0 for r in replies if r.status_code == 429)

        ended = await endless
        assert ended.status_code == 504
        assert assert_is_an_openai_error(ended)["code"] == "deadline_exceeded"
        assert ended.headers["x-should-retry"] == "false"

        async def free() -> bool:
            return not (await engine.get("/demo/state")).json()["running"]

        await eventually(free)
        await engine.post("/demo/gate", json={"closed": False})
        assert (await http.post("/v1/chat/completions", json=good())).status_code == 200
