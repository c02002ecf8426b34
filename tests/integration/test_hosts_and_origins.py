"""Pages of other sites, and names that were made to point here: refused in every mode."""

import asyncio
import json
from typing import Literal

import pytest
import websockets

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.keyholders import ready
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

OURS = "https://chat.example.com"


@pytest.fixture(params=["local", "open", "required"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gateway_settings(nats_server: NatsServer, mode: Literal["local"]) -> GatewaySettings:
    return quick_settings(
        nats_server.url,
        auth=mode,
        cors_origins=OURS,
        allowed_hosts="parley.example, *.inner.example",
    )


async def raw(gateway: RunningGateway, *lines: str) -> tuple[int, dict[str, object]]:
    """A request written by hand; its status and error."""
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    last = [] if "connection: upgrade" in lines else ["connection: close"]
    writer.write("\r\n".join([*lines, *last, "", ""]).encode("latin-1"))
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    parsed = json.loads(body) if body.startswith(b"{") else {}
    return int(head.split()[1]), parsed.get("error", {})


# Each stack is asked all of them: starting one takes longer than asking.
NOT_OURS = [
    ["evil.example"],
    ["evil.example:8000"],
    ["localhost.evil.example"],
    ["127.0.0.1.evil.example"],
    ["127.0.0.1@evil.example"],
    ["evil.example@127.0.0.1"],
    ["inner.example"],
    ["evilinner.example"],
    ["192.168.0.7"],
    ["0.0.0.0"],  # noqa: S104 - read, not bound
    ["localhost/x"],
    ["localhost:http"],
    [""],
    [],
    ["localhost", "evil.example"],
    ["localhost", "localhost"],
]
OUR_NAMES = [
    "localhost",
    "LOCALHOST:1",
    "127.0.0.1:9999",
    "[::1]:8000",
    "parley.example",
    "a.inner.example",
]


async def test_a_name_that_is_not_ours_is_refused(gateway: RunningGateway) -> None:
    for hosts in NOT_OURS:
        lines = [f"host: {host}" for host in hosts]
        for request in ("GET /v1/models", "POST /v1/chat/completions", "GET /v1/health"):
            status, error = await raw(gateway, f"{request} HTTP/1.1", *lines, "content-length: 0")
            assert status in {400, 421}, (hosts, request)
            if error and status == 421:
                assert error["code"] == "wrong_host", (hosts, request)
                assert error["type"] == "invalid_request_error", (hosts, request)
    forwarded = ["host: evil.example", "x-forwarded-host: localhost", "forwarded: host=localhost"]
    assert (await raw(gateway, "GET /v1/models HTTP/1.1", *forwarded))[0] == 421


async def test_our_own_names_are_answered_with_any_port(gateway: RunningGateway, mode: str) -> None:
    await ready(gateway)
    for host in OUR_NAMES:
        status, _ = await raw(gateway, "GET /v1/models HTTP/1.1", f"host: {host}")
        assert status == (401 if mode == "required" else 200), host


async def test_probes_know_an_address_and_no_name(gateway: RunningGateway) -> None:
    await ready(gateway)
    for path in ("/healthz", "/readyz"):
        assert (await raw(gateway, f"GET {path} HTTP/1.1", "host: 10.1.2.3:8000"))[0] == 200


async def test_a_page_that_rebinds_its_name_gets_nothing(gateway: RunningGateway) -> None:
    # What a browser sends once evil.example points to 127.0.0.1: all of it is "same origin".
    port = gateway.url.rpartition(":")[2]
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("DELETE", "/api/chat/sessions/00000000-0000-4000-8000-000000000000"),
    ):
        status, error = await raw(
            gateway,
            f"{method} {path} HTTP/1.1",
            f"host: evil.example:{port}",
            f"origin: http://evil.example:{port}",
            "content-length: 0",
        )
        assert (status, error["code"]) == (421, "wrong_host")
    for path in ("/ws/ai-chat/sessions/", "/ws/ai-chat/session/x/"):
        status, error = await raw(
            gateway,
            f"GET {path} HTTP/1.1",
            f"host: evil.example:{port}",
            f"origin: http://evil.example:{port}",
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-version: 13",
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        assert (status, error["code"]) == (421, "wrong_host")


def origins_of(gateway: RunningGateway) -> list[str]:
    """Pages of others."""
    port = gateway.url.rpartition(":")[2]
    return [
        "http://evil.example",
        f"http://evil.example:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        f"http://localhost:{port}",
        f"http://127.0.0.1:{port}.evil.example",
        f"http://127.0.0.1:{port}/page",
        f"http://x@127.0.0.1:{port}",
        f"file://127.0.0.1:{port}",
        "https://chat.example.com.evil.example",
        "http://chat.example.com",
        "https://chat.example.com:8443",
        "null",
        "",
    ]


async def test_a_page_of_another_site_neither_writes_nor_opens_sockets(
    gateway: RunningGateway,
) -> None:
    await ready(gateway)
    for origin in origins_of(gateway):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            reply = await gateway.http.request(
                method, "/api/chat/sessions/", headers={"Origin": origin}
            )
            assert reply.status_code == 403, (method, origin)
            assert reply.json()["error"]["code"] == "wrong_origin"
            assert "access-control-allow-origin" not in reply.headers
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with SocketClient(gateway.url, "/ws/ai-chat/sessions/", Origin=origin):
                pass
        assert refused.value.response.status_code == 403


async def test_two_origins_are_one_too_many(gateway: RunningGateway) -> None:
    two = [("Origin", gateway.url), ("Origin", "http://evil.example")]
    assert (await gateway.http.post("/v1/chat/completions", headers=two)).status_code == 403


async def test_a_page_of_ours_or_a_listed_one_is_answered(
    gateway: RunningGateway, mode: str
) -> None:
    await ready(gateway)
    for origin in (gateway.url, OURS, OURS.upper()):
        reply = await gateway.http.post("/api/chat/sessions/", json={}, headers={"Origin": origin})
        assert reply.status_code == (201 if mode == "local" else 401)
        async with SocketClient(gateway.url, "/ws/ai-chat/sessions/", Origin=origin) as person:
            if mode == "local":
                await person.next("connection_established")
            else:
                assert await person.closed() == 4401


async def test_listed_pages_may_read_also_why_they_are_refused_and_never_with_cookies(
    gateway: RunningGateway,
) -> None:
    await ready(gateway)
    for path in ("/v1/models", "/nowhere"):
        reply = await gateway.http.get(path, headers={"Origin": OURS})
        assert reply.headers["access-control-allow-origin"] == OURS
        assert "access-control-allow-credentials" not in reply.headers
        assert "Origin" in reply.headers["vary"]
        strange = await gateway.http.get(path, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in strange.headers
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = await gateway.http.options(
        "/v1/chat/completions", headers={"Origin": OURS, **preflight}
    )
    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    refused = await gateway.http.options(
        "/v1/chat/completions", headers={"Origin": "https://evil.example", **preflight}
    )
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
