"""Whatever a client says at a socket, it is told what is wrong, and the socket goes on."""

import asyncio
import json
from typing import Any, Final

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from services.api.schemas.sockets import FROM_SERVER, LIST_FROM_SERVER
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_world import WholeWorld, belongings_of
from tests.fakes.api.world import app_of
from tests.support.asgi import http_client
from tests.support.frames import at
from tests.support.fuzzing import fuzz

TYPES: Final = ("send_message", "typing", "stop_typing", "ping", "stop_generation", "resume")
FIELDS: Final = (
    "message",
    "parent_id",
    "parentId",
    "model",
    "temperature",
    "top_p",
    "maxTokens",
    "tools",
    "system_prompt",
    "completion_id",
    "after",
    "leaf",
)
CLOSES: Final = {1009, 1012, 1013, 4400, 4401, 4404, 4408, 4429}

ANY_TEXT: Final = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["\0", "\ud800", "\udfff\ud800", "\u2028", "\r\n", "*", ">", "..", "%00", "demo", "a" * 9000]
)
ANY_JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400, 1e308, -0.0])
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
ALMOST: Final = st.builds(
    lambda kind, fields: json.dumps({**fields, "type": kind}),
    st.sampled_from(TYPES) | ANY_JSON,
    st.dictionaries(st.sampled_from(FIELDS) | ANY_TEXT, ANY_JSON, max_size=5),
)
NESTED: Final = st.builds(
    lambda depth, opening: f'{{"type":"ping","x":{opening * depth}',
    st.integers(1, 5000),
    st.sampled_from(["[", '{"a":', "[{", "[]"]),
)
BALANCED: Final = st.integers(1, 3000).map(lambda n: f'{{"type":"ping","x":{"[" * n}{"]" * n}}}')
WORDS: Final = st.sampled_from(
    [
        "",
        " ",
        "{}",
        "null",
        '"ping"',
        '{"type":"ping","type":"nothing"}',
        '{"type":"ping","x":1e999}',
        '{"type":"resume","completion_id":"chatcmpl-*","after":1e400}',
        '{"type":"resume","completion_id":">","after":-1}',
        '{"type":"stop_generation","completion_id":"chatcmpl-%2f.."}',
        '{"type":"ping","x":' + "9" * 5000 + "}",
        '{"type":"ping","x":NaN}',
        '\ufeff{"type":"ping"}',
    ]
)
SAID: Final = (
    ALMOST.map(lambda text: {"text": text})
    | (NESTED | BALANCED | WORDS | ANY_TEXT).map(lambda text: {"text": text})
    | st.binary(max_size=60).map(lambda data: {"bytes": data})
)
SHORT: Final = fuzz(60)


async def attack(app: ASGIApp, path: str, said: list[dict[str, Any]], known: set[str]) -> None:
    with structlog.testing.capture_logs() as logs:
        async with at(app, path) as socket:
            for frame in said:
                socket.says.put_nowait({"type": "websocket.receive", **frame})
            heard = await socket.until_pong(sum(not is_object(frame) for frame in said))
    if isinstance(heard, int):
        assert heard in CLOSES
    else:
        assert {message["type"] for message in heard} <= known
        errors = [message for message in heard if message["type"] == "error"]
        assert all(error["message"] and error["code"] for error in errors)
    bad = [line for line in logs if line["log_level"] in {"error", "critical"}]
    assert bad == []


def is_object(frame: dict[str, Any]) -> bool:
    try:
        return isinstance(json.loads(frame.get("text", "")), dict)
    except (ValueError, RecursionError):
        return False


def types_of(models: tuple[type[Any], ...]) -> set[str]:
    return {
        name
        for model in models
        for name in model.model_json_schema()["properties"]["type"].get("enum")
        or [model.model_json_schema()["properties"]["type"]["const"]]
    }


@pytest.mark.parametrize("place", ["session", "list"])
def test_whatever_is_said_at_a_socket_it_goes_on(place: str) -> None:
    world = WholeWorld()
    with asyncio.Runner() as runner:
        opened = app_of(world, quick_settings())
        app = runner.run(opened.__aenter__())
        path, models = "/ws/ai-chat/sessions/", LIST_FROM_SERVER
        if place == "session":
            path = f"/ws/ai-chat/session/{runner.run(_session(app))}/"
            models = FROM_SERVER
        known = types_of(models)

        @SHORT
        @given(said=st.lists(SAID, min_size=1, max_size=4))
        def whatever(said: list[dict[str, Any]]) -> None:
            runner.run(attack(app, path, said, known))

        try:
            whatever()
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _session(app: ASGIApp) -> str:
    async with http_client(app) as client:
        return (await belongings_of(client, None)).session_id
