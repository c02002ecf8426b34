"""Sockets that are not served leave a line in the log; sockets of dead peers are closed."""

import asyncio
import base64
import os
from collections.abc import Mapping, MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration
stored = pytest.mark.usefixtures("history")

UNKNOWN = "00000000-0000-4000-8000-000000000000"
LIST = "/ws/ai-chat/sessions/"
PING, CLOSE = 0x89, 0x88


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(
        nats_server.url,
        sockets_per_user=2,
        socket_ping_interval=timedelta(milliseconds=100),
        socket_ping_timeout=timedelta(milliseconds=400),
    )


def lines(said: list[MutableMapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    """What was logged of sockets: ids, codes and timings."""
    dressing = {"event", "log_level"}
    return [
        {name: value for name, value in line.items() if name not in dressing}
        for line in said
        if line["event"] == event
    ]


@stored
async def test_a_socket_that_is_refused_is_one_line_in_the_log(gateway: RunningGateway) -> None:
    with capture_logs() as said:
        async with at(gateway, "no-id") as person:
            assert await person.closed() == 4400
        async with at(gateway, UNKNOWN) as person:
            assert await person.closed() == 4404
    assert lines(said, "socket_refused") == [
        {"code": "bad_address", "closed": 4400},
        {"code": "session_not_found", "closed": 4404, "session_id": UNKNOWN},
    ]
    assert lines(said, "socket_connected") == lines(said, "socket_disconnected") == []


@stored
async def test_one_socket_too_many_is_one_line_in_the_log(gateway: RunningGateway) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as first, at(gateway, session) as second:
        await asyncio.gather(first.next(), second.next())
        with capture_logs() as said:
            async with at(gateway, session) as person:
                assert await person.closed() == 4429
            async with SocketClient(gateway.url, LIST) as person:
                assert await person.closed() == 4429
    refused = {"code": "too_many_sockets", "closed": 4429}
    assert lines(said, "socket_refused") == [refused, refused]


async def test_a_socket_that_history_cannot_answer_for_is_one_line_in_the_log(
    gateway: RunningGateway,
) -> None:
    with capture_logs() as said:
        async with at(gateway, UNKNOWN) as person:
            assert await person.closed() == 1013
    refused = {"code": "history_unavailable", "closed": 1013, "session_id": UNKNOWN}
    assert lines(said, "socket_refused") == [refused]


@stored
async def test_a_peer_that_answers_no_ping_is_closed_and_one_that_does_is_not(
    gateway: RunningGateway,
) -> None:
    session = await new_session(gateway)
    with capture_logs() as said:
        async with at(gateway, session) as living:
            await living.next()
            host, _, port = gateway.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(
                f"GET /ws/ai-chat/session/{session}/ HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            async with asyncio.timeout(10):
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
                opcodes, code = await frames(reader)
            assert PING in opcodes
            assert (opcodes[-1], code) == (CLOSE, 1011)
            writer.close()
            await eventually(lambda: len(lines(said, "socket_disconnected")) == 1)
            # It has answered all of them meanwhile.
            await living.say({"type": "ping"})
            await living.next("pong")
    assert len(lines(said, "socket_connected")) == 2


async def frames(reader: asyncio.StreamReader) -> tuple[list[int], int]:
    """First bytes of all frames up to the close, and its code."""
    opcodes = []
    while True:
        first, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        body = await reader.readexactly(length)
        opcodes.append(first)
        if first == CLOSE:
            return opcodes, int.from_bytes(body[:2])


async def test_a_socket_whose_ticket_nobody_can_look_up_is_one_line_in_the_log(
    gateway: RunningGateway, nats_server: NatsServer
) -> None:
    nats_server.kill()
    with capture_logs() as said:
        async with SocketClient(gateway.url, f"{LIST}?ticket={'t' * 40}") as person:
            assert await person.closed() == 1013
    assert lines(said, "socket_refused") == [{"code": "broker_unavailable", "closed": 1013}]
