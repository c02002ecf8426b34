"""What sockets refuse, and what closes them."""

import json

import pytest
import websockets

from services.api.settings import Settings as GatewaySettings
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker
from tests.support.nats_server import NatsServer
from tests.support.socket_client import SocketClient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, sockets_per_user=8)


BAD = [
    ("no json", "invalid_request"),
    ("[]", "invalid_request"),
    (b"\x00\x01", "invalid_request"),
    ({}, "invalid_request"),
    ({"type": 5}, "invalid_request"),
    ({"type": "fly"}, "invalid_request"),
    ({"type": "send_message"}, "invalid_request"),
    (send(""), "invalid_request"),
    (send("   "), "invalid_request"),
    (send([{"type": "text", "text": ""}]), "invalid_request"),
    (send("a\0b"), "invalid_request"),
    (send("x", temperature=9), "invalid_request"),
    (send("x", parent_id=UNKNOWN), "message_not_found"),
    (send("x", parent_id="?"), "message_not_found"),
    ({"type": "resume"}, "invalid_request"),
    ({"type": "resume", "completion_id": "x", "after": -2}, "invalid_request"),
    ({"type": "resume", "completion_id": "chatcmpl-" + "0" * 32}, "completion_not_found"),
    ({"type": "resume", "completion_id": "../*"}, "completion_not_found"),
    ({"type": "stop_generation"}, "completion_not_found"),
    ({"type": "stop_generation", "completion_id": "chatcmpl-" + "f" * 32}, "completion_not_found"),
    ('{"type": "send_message", "message": ' + "[" * 90 + "]" * 90 + "}", "invalid_request"),
]


NAMED = [
    ({}, "type"),
    ({"type": "send_message"}, "message"),
    (send("   "), "message"),
    (send("x", maxTokens=0), "max_tokens"),
    (send("x", parent_id=UNKNOWN), "parent_id"),
    (send("x", parentId="?"), "parent_id"),
    ({"type": "resume"}, "completion_id"),
    ({"type": "resume", "completion_id": "chatcmpl-" + "0" * 32}, "completion_id"),
    ({"type": "stop_generation", "completion_id": "chatcmpl-" + "f" * 32}, "completion_id"),
]


@pytest.mark.parametrize("text", ["", " ", "{", "[]", "x" + "[" * 90])
async def test_what_is_no_message_is_called_one(gateway: RunningGateway, text: str) -> None:
    async with at(gateway, await new_session(gateway)) as person:
        await person.next()
        await person.say(text)
        error = (await person.next())["message"]
    assert error.startswith("The message ")
    assert error.endswith("; it must be a JSON object." if text != "[]" else "a JSON object.")


async def test_an_error_names_the_field_that_was_sent_in_snake_case(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.next()
        for message, param in NAMED:
            await person.say(message)
            assert (await person.next())["param"] == param, message
        await person.say(send("x"))
        await worker.take()
        await person.say(send("y"))
        assert (await person.next("error"))["param"] == "session_id"


async def test_every_bad_message_gets_an_error_and_the_socket_goes_on(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.next()
        for message, code in BAD:
            await person.say(message)
            error = await person.next()
            assert (error["type"], error["code"]) == ("error", code), message
            assert error["message"]
        await person.say({"type": "ping"})
        assert (await person.next())["type"] == "pong"


@pytest.mark.parametrize(("session", "code"), [(UNKNOWN, 4404), ("no-uuid", 4400)])
async def test_a_session_that_is_not_there_closes_the_socket(
    gateway: RunningGateway, session: str, code: int
) -> None:
    async with at(gateway, session) as person:
        assert await person.closed() == code
        (said,) = person.got
    assert said["code"] == ("session_not_found" if code == 4404 else "invalid_request")


async def test_deleting_a_session_closes_its_sockets_everywhere(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as here, at(other, session) as there:
        await here.next()
        await there.next()
        assert (await other.http.delete(f"/api/chat/sessions/{session}/")).status_code == 204
        assert [await here.closed(), await there.closed()] == [4404, 4404]
        for person in (here, there):
            assert (person.got[-1]["type"], person.got[-1]["code"]) == (
                "error",
                "session_not_found",
            )
            assert person.close_reason == "The session does not exist, or no longer."


async def test_a_page_of_another_host_may_not_open_a_socket(gateway: RunningGateway) -> None:
    session, port = await new_session(gateway), gateway.url.rsplit(":", 1)[1]
    path = f"/ws/ai-chat/session/{session}/"
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{int(port) + 1}"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await SocketClient(gateway.url, path, Origin=origin).__aenter__()
        assert refused.value.response.status_code == 403
        error = json.loads(refused.value.response.body)["error"]
        assert (error["type"], error["code"]) == ("permission_error", "wrong_origin")
    async with SocketClient(gateway.url, path, Origin=gateway.url) as person:
        await person.next()


@pytest.mark.parametrize("path", ["/ws/nothing/", "/ws/ai-chat/session/", "/v1/models", "/"])
async def test_an_address_without_a_socket_is_not_found(gateway: RunningGateway, path: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await SocketClient(gateway.url, path).__aenter__()
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["error"]["code"] == "not_found"


async def test_sockets_of_a_user_and_messages_of_a_socket_are_bounded(
    gateway: RunningGateway,
) -> None:
    session = await new_session(gateway)
    people = [at(gateway, session) for _ in range(8)]
    for person in people:
        await person.__aenter__()
        await person.next()
    async with at(gateway, session) as one_more:
        assert await one_more.closed() == 4429
        assert one_more.got[-1]["message"] == "You have as many sockets open as you may: close one."
    flooding = people.pop()
    for _ in range(100):
        await flooding.say({"type": "ping"})
    assert await flooding.closed() == 4429
    huge = people.pop()
    await huge.say(send("x" * 2**21))
    assert await huge.closed() == 1009
    for person in people:
        await person.say({"type": "ping"})
        assert (await person.next())["type"] == "pong"
        await person.__aexit__(None, None, None)


async def test_no_token_is_logged(
    gateway: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session, "?token=pk-very-secret") as person:
        await person.next()
    logged = capfd.readouterr()
    assert "socket_connected" in logged.out + logged.err
    assert "pk-very-secret" not in logged.out + logged.err
