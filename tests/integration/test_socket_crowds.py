"""Many at one session: who is there, who waits, who is slow, and who comes back too often."""

import asyncio
import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import pytest
import websockets
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.protocol import GatewayProtocol
from services.api.settings import Settings as GatewaySettings
from shared.contracts import streams
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

SOCKETS = 8


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(
        nats_server.url, sockets_per_user=SOCKETS, send_timeout=timedelta(milliseconds=500)
    )


async def participants(person: SocketClient) -> int:
    return int((await person.next("presence"))["participants"])


async def test_who_wants_to_know_is_told_how_many_are_there_at_all_gateways(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session, "?presence=true") as curious:
        assert await participants(curious) == 1
        async with at(other, session) as plain:
            assert await participants(curious) == 2
            async with at(other, session, "?presence=true") as second:
                assert await participants(curious) == 3
                while await participants(second) != 3:
                    pass
            assert await participants(curious) == 2
            await plain.say({"type": "ping"})
            assert (await plain.next("pong"))["type"] == "pong"
            assert plain.types == ["connection_established", "pong"]
        assert await participants(curious) == 1


async def test_typing_and_presence_touch_neither_a_stream_nor_the_database(
    gateway: RunningGateway, other: RunningGateway, client: Client, provisioned: JetStream
) -> None:
    session = await new_session(gateway)
    asked: list[str] = []

    async def heard(message: Msg) -> None:
        asked.append(message.subject)

    async def stored() -> dict[str, int]:
        names = [streams.REQUESTS, streams.CHUNKS, streams.EVENTS, streams.DEAD_LETTERS]
        # Workers say in the catalog what they serve, whatever anybody types.
        names += [streams.bucket_stream(it) for it in streams.BUCKETS if it != streams.CATALOG]
        infos = {name: await provisioned.api(f"STREAM.INFO.{name}") for name in names}
        return {name: info["state"]["last_seq"] for name, info in infos.items()}

    async with at(gateway, session, "?presence=true") as one, at(other, session) as two:
        while await participants(one) != 2:
            pass
        listening = await client.subscribe("chat.history.>", cb=heard)
        await client.flush()
        before = await stored()
        for _ in range(10):
            for kind in ("typing", "stop_typing"):
                await one.say({"type": kind})
                await two.next(kind)
        assert await stored() == before
        assert asked == []
        # The ears are open: what is read of a session is heard.
        await gateway.http.get(f"/api/chat/sessions/{session}/")
        await eventually(lambda: asked)
        await listening.unsubscribe()


async def test_who_waits_is_told_its_place_at_every_gateway(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as here, at(other, session) as there:
        await here.say(send("is anybody free?"))
        places = [await person.next("queued") for person in (here, there)]
        job = await worker.take()
        await job.say("now I am")
        await job.end()
        for person in (here, there):
            await person.next("ai_message_complete")
            assert person.text == "now I am"
    assert [place["position"] for place in places] == [1, 1]
    assert len({place["completion_id"] for place in places}) == 1


async def deaf(gateway: RunningGateway, session: str) -> socket.socket:
    """A socket of the session whose client reads nothing, and whose system keeps little for it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host = urlsplit(gateway.url)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (host.hostname, host.port))
    lines = [
        f"GET /ws/ai-chat/session/{session}/ HTTP/1.1",
        f"Host: {host.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    await loop.sock_sendall(raw, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert b" 101 " in await asyncio.wait_for(loop.sock_recv(raw, 64), 10)
    return raw


def is_socket(connection: object) -> bool:
    """Whether it is no connection of the test's HTTP client."""
    return not isinstance(connection, GatewayProtocol)


async def test_one_that_takes_nothing_is_closed_and_the_others_miss_nothing(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    slow = await deaf(gateway, session)
    async with at(gateway, session) as quick:
        await quick.say(send("a long one, please"))
        job = await worker.take()
        text = ""
        while len(text) < 900_000:
            piece = f"{len(text):08}" * 2000
            await job.say(piece)
            text += piece
            # As a slow engine would: the quick one reads along.
            while len(quick.text) < len(text) - 4 * len(piece):
                await quick.next("ai_message_chunk")
        await job.end()
        done = await quick.next("ai_message_complete")
        assert quick.text == text == done["message"]["content"]
    # It was cut, not only told: nothing is kept for it any more.
    connections = gateway.server.server_state.connections
    await eventually(lambda: not any(is_socket(connection) for connection in connections))
    slow.close()


async def test_who_comes_back_again_and_again_hurts_nobody(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    codes: set[int] = set()

    async def come_and_go(times: int) -> None:
        for number in range(times):
            async with at(gateway, session) as person:
                if number % 2:
                    person.abort()
                    continue
                try:
                    if (await person.next())["type"] == "error":
                        codes.add(await person.closed())
                except websockets.ConnectionClosed as closed:
                    codes.add(closed.rcvd.code if closed.rcvd else 0)

    async with at(gateway, session, "?full_content=false") as quiet:
        await quiet.say(send("go on"))
        job = await worker.take()
        async with asyncio.TaskGroup() as flood:
            for _ in range(2 * SOCKETS):
                flood.create_task(come_and_go(20))
            for number in range(100):
                await job.say(f"{number} ")
                await quiet.next("ai_message_chunk")
        await job.end()
        await quiet.next("ai_message_complete")
        assert quiet.text == "".join(f"{number} " for number in range(100))
    # There is room for eight: some of sixteen are told so, and nothing else.
    assert codes == {4429}
    await eventually(partial(fits, gateway, session, SOCKETS))


async def fits(gateway: RunningGateway, session: str, count: int) -> bool:
    """Whether so many are let in at once: those who are known to have gone do not count."""
    async with AsyncExitStack() as stack:
        for person in [at(gateway, session) for _ in range(count)]:
            await stack.enter_async_context(person)
            try:
                await person.next()
            except websockets.ConnectionClosed:
                return False
    return True
