"""What arrives for a session after its deletion is kept hidden, and comes back with it."""

import asyncio
from typing import Any

import pytest

from shared.contracts.chat import CompletionStatus
from shared.contracts.ids import SessionId, UserId
from shared.messaging.jetstream import JetStream
from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import new_session
from tests.fakes.api.worker import ScriptedWorker
from tests.fakes.history.conversation import Turn
from tests.fakes.history.running import Event, Stored, all_stored, publish
from tests.support.mongo_server import MongoServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

SESSIONS = "/ai-chat/api/sessions/"


class Seen:
    """One session, as a client sees it."""

    def __init__(self, gateway: RunningGateway, session: str) -> None:
        self._http = gateway.http
        self.path = f"{SESSIONS}{session}/"
        self.session = session

    async def is_gone(self) -> bool:
        """Whether it is in the bin and nowhere else."""
        listed = (await self._http.get(SESSIONS)).json()["sessions"]
        binned = (await self._http.get(SESSIONS, params={"deleted": "true"})).json()["sessions"]
        pages = [await self._http.get(self.path), await self._http.get(f"{self.path}messages/")]
        statuses = [page.status_code for page in pages]
        assert [one["id"] for one in binned] == [self.session]
        return listed == [] and statuses == [404, 404]

    async def delete(self) -> None:
        assert (await self._http.delete(self.path)).status_code == 204

    async def restore(self) -> None:
        assert (await self._http.post(f"{self.path}restore/")).status_code == 200

    async def title(self) -> str:
        return str((await self._http.get(self.path)).json()["title"])

    async def said(self) -> list[tuple[str, str]]:
        messages = (await self._http.get(f"{self.path}messages/")).json()["messages"]
        return [(message["role"], message["content"]) for message in messages]

    async def found_by(self, words: str) -> bool:
        listed = (await self._http.get(SESSIONS, params={"search": words})).json()["sessions"]
        return [one["id"] for one in listed] == [self.session]

    def send(self, text: str) -> asyncio.Task[Any]:
        body = {"message": text}
        return asyncio.create_task(self._http.post(f"{self.path}send_message/", json=body))


async def test_the_turn_that_ran_when_its_session_was_deleted_comes_back_with_it(
    gateway: RunningGateway,
    other: RunningGateway,
    worker: ScriptedWorker,
    provisioned: JetStream,
    mongo: MongoServer,
) -> None:
    session = await new_session(gateway)
    here, there = Seen(gateway, session), Seen(other, session)
    asking = here.send("Tell me of wombats")
    job = await worker.take()
    await job.say("Wombats dig")
    await there.delete()
    await asyncio.wait_for(job.cancelled.wait(), 10)
    await job.end(CompletionStatus.CANCELLED, code="cancelled")
    assert (await asking).status_code == 409

    await eventually(lambda: all_stored(provisioned))
    assert await here.is_gone()
    assert await there.is_gone()
    stored = Stored(mongo.url)
    assert await stored.count("usage") == 1
    stored.close()

    await there.restore()
    assert await here.said() == [("user", "Tell me of wombats"), ("assistant", "Wombats dig")]
    assert await here.title() == "Tell me of wombats"
    assert await here.found_by("wombats dig")
    again = here.send("Go on")
    job = await worker.take()
    assert [message.text() for message in job.command.messages][:2] == [
        "Tell me of wombats",
        "Wombats dig",
    ]
    await job.say("deep")
    await job.end()
    assert (await again).status_code == 200
    assert [text for _, text in await there.said()][2:] == ["Go on", "deep"]


@pytest.mark.parametrize("first", ["accepted", "completed"])
async def test_a_turn_of_which_all_comes_late_is_hidden_until_its_session_is_back(
    gateway: RunningGateway, provisioned: JetStream, first: str
) -> None:
    session = await new_session(gateway)
    seen = Seen(gateway, session)
    await seen.delete()
    turn = Turn(text="Where are wombats?", session_id=SessionId(session), user_id=UserId("local"))
    events: list[Event] = [turn.accepted(), turn.completed()]
    for event in events if first == "accepted" else reversed(events):
        await publish(provisioned, event)
        await eventually(lambda: all_stored(provisioned))
        assert await seen.is_gone()

    await seen.restore()

    assert await seen.said() == [("user", "Where are wombats?"), ("assistant", "Answer 1")]
    assert await seen.title() == "Where are wombats?"
    assert await seen.found_by("wombats answer")


async def test_an_end_that_comes_after_the_deletion_completes_what_was_stored_before(
    gateway: RunningGateway, provisioned: JetStream
) -> None:
    session = await new_session(gateway)
    seen = Seen(gateway, session)
    turn = Turn(text="Where are wombats?", session_id=SessionId(session), user_id=UserId("local"))
    await publish(provisioned, turn.accepted())
    await eventually(lambda: all_stored(provisioned))
    await seen.delete()
    await publish(provisioned, turn.completed())
    await eventually(lambda: all_stored(provisioned))

    assert await seen.is_gone()
    await seen.restore()
    assert await seen.said() == [("user", "Where are wombats?"), ("assistant", "Answer 1")]
    assert await seen.title() == "Where are wombats?"
