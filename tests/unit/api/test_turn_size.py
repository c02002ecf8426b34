"""A turn that is too large to be sent on is refused; one whose past is too large goes on."""

import httpx

from shared.contracts.completions import RunCompletion
from shared.contracts.history import MessageRef, SessionHead, StoredMessage
from shared.contracts.ids import MessageId, SessionId
from tests.fakes.api.world import FakeWorld, client_of
from tests.unit.api.test_context import stored

PATH = "/api/chat/sessions/{}/send_message/"


async def new_session(http: httpx.AsyncClient) -> SessionId:
    reply = await http.post("/api/chat/sessions/", json={"model": "demo"})
    return SessionId(reply.json()["id"])


def after(parent: str | None, message: StoredMessage) -> StoredMessage:
    return message.model_copy(update={"parent_id": parent})


async def test_a_new_message_that_alone_does_not_fit_is_a_413_that_says_what_to_do() -> None:
    world = FakeWorld()
    world.answer("Hi")
    world.broker.max_payload = 100_000
    async with client_of(world) as http:
        path = PATH.format(await new_session(http))
        refused = await http.post(path, json={"message": "x" * 100_000})
        fine = await http.post(path, json={"message": "x" * 90_000})
    assert (refused.status_code, fine.status_code) == (413, 200)
    error = refused.json()["error"]
    assert error["code"] == "request_too_large"
    size, limit = [int(word) for word in error["message"].split() if word.isdecimal()]
    assert size > 100_000 > limit
    assert error["message"].endswith("; shorten it, or use smaller images.")


async def test_what_was_said_before_makes_no_turn_a_413() -> None:
    world = FakeWorld()
    world.answer("Hi")
    world.broker.max_payload = 100_000
    async with client_of(world) as http:
        session = await new_session(http)
        world.history.messages[session] = [
            after(None, stored(1, "user", "a" * 50_000)),
            after("1", stored(2, "assistant", "b" * 50_000)),
            after("2", stored(3, "user", "c")),
            after("3", stored(4, "assistant", "d")),
        ]
        leaf = MessageRef(id=MessageId("4"), role="assistant", depth=4, digest="")
        world.history.heads[session] = SessionHead(turn=2, leaf=leaf)
        reply = await http.post(PATH.format(session), json={"message": "now?"})
    assert reply.status_code == 200, reply.text
    command = RunCompletion.from_bytes(world.queue.requests[1])
    assert [message.text() for message in command.messages] == ["c", "d", "now?"]
    assert command.omitted == 2
