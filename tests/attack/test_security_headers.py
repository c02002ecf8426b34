"""What every answer tells browsers and caches, whether it is a success, a refusal or a failure."""

import re
from collections.abc import Mapping

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from services.api.app import create_app
from services.api.security_headers import SecurityHeaders
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.whole_world import WholeWorld
from tests.fakes.api.world import client_of
from tests.support.asgi import http_client

ASK = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
OPERATIONS = [
    (method.upper(), re.sub(r"{\w+}", "x", path))
    for path, item in create_app(quick_settings()).openapi()["paths"].items()
    for method in item
]


def check(headers: Mapping[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "no-store" in headers["cache-control"]


@pytest.mark.parametrize("known", [True, False])
async def test_every_address_says_so_to_everybody(known: bool) -> None:
    world = WholeWorld()
    async with client_of(world, quick_settings(auth="required")) as client:
        if known:
            client.headers["Authorization"] = f"Bearer {await world.new_key('ann', admin=True)}"
        for method, path in OPERATIONS:
            check((await client.request(method, path)).headers)


async def test_refusals_and_failures_say_so_too() -> None:
    world = WholeWorld()
    gateway = quick_settings(cors_origins=["https://ours.example"])
    page = {"Origin": "https://ours.example", "Access-Control-Request-Method": "POST"}
    async with client_of(world, gateway) as client:
        for reply, status in (
            (await client.get("/nothing"), 404),
            (await client.delete("/v1/models"), 405),
            (await client.get("/v1/models", headers={"Host": "evil.example"}), 421),
            (
                await client.post("/v1/chat/completions", headers={"Origin": "http://e.example"}),
                403,
            ),
            (await client.options("/v1/models", headers=page), 200),
            (await client.get("/v1/models", headers={"X-Request-Id": "a b"}), 200),
        ):
            assert reply.status_code == status
            check(reply.headers)

        def breaks(_command: object) -> None:
            raise ArithmeticError

        world.queue.on_request = breaks
        failed = await client.post("/v1/chat/completions", json=ASK)
        assert failed.status_code == 500
        check(failed.headers)


async def test_a_stream_says_so_and_is_not_held_back() -> None:
    async with client_of(WholeWorld()) as client:
        reply = await client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert reply.headers["cache-control"] == "no-cache, no-store"
    check(reply.headers)


async def test_what_is_no_http_is_refused_with_them() -> None:
    async with RunningGateway(quick_settings(), open_world=WholeWorld().open) as gateway:
        reply = await gateway.http.request("HELLO", "/")
    assert reply.status_code == 400
    check(reply.headers)


async def test_pages_get_a_policy_of_their_own_and_what_a_route_says_stands() -> None:
    async def page(_request: object) -> HTMLResponse:
        return HTMLResponse("<p>")

    async def asset(_request: object) -> PlainTextResponse:
        return PlainTextResponse("x", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def stream(_request: object) -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    routes = [Route("/", page), Route("/asset", asset), Route("/stream", stream)]
    async with http_client(SecurityHeaders(Starlette(routes=routes))) as client:
        policy = (await client.get("/")).headers["content-security-policy"]
        cached = (await client.get("/asset")).headers
        assert (await client.get("/stream")).text == "ab"
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert cached.get_list("cache-control") == ["max-age=31536000, immutable"]


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("method", "wrong", "status", "code"),
    [
        ("GET", {"Sec-WebSocket-Key": "tangerine"}, 400, "bad_request"),
        ("GET", {"Sec-WebSocket-Version": "8"}, 400, "bad_request"),
        ("POST", {}, 405, "method_not_allowed"),
        ("GET", {"Origin": "https://evil.example"}, 403, "wrong_origin"),
        ("GET", {"Host": "evil.example"}, 421, "wrong_host"),
    ],
)
async def test_a_handshake_that_is_refused_says_so_in_the_one_body_with_them(
    method: str, wrong: dict[str, str], status: int, code: str
) -> None:
    async with RunningGateway(quick_settings(), open_world=WholeWorld().open) as gateway:
        path = "/ws/ai-chat/sessions/"
        reply = await gateway.http.request(method, path, headers={**HANDSHAKE, **wrong})
        elsewhere = await gateway.http.get("/ws/nowhere/", headers=HANDSHAKE)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert "tangerine" not in reply.text
    assert elsewhere.status_code == 404
    for answer in (reply, elsewhere):
        assert answer.headers["content-type"] == "application/json"
        check(answer.headers)
