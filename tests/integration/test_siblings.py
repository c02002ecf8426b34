"""What is said anew names what it stands beside: on both faces, on sockets, and as it is stored."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import at, new_session, send
from tests.fakes.api.worker import ScriptedWorker
from tests.support.socket_client import SocketClient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]


async def answered(worker: ScriptedWorker, asking: asyncio.Task[httpx.Response]) -> dict[str, Any]:
    job = await worker.take()
    await job.say("so")
    await job.end()
    response = await asking
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def asking(
    gateway: RunningGateway, method: str, path: str, **body: object
) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(gateway.http.request(method, path, json=body))


async def shown(person: SocketClient) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The question, where there is one, and the answer of the next turn."""
    first = await person.next()
    question = first["message"] if first["type"] == "user_message" else None
    done = await person.next("ai_message_complete")
    return question, done["message"]


async def stored(gateway: RunningGateway, session: str, message: str) -> list[str]:
    path = f"/ai-chat/api/sessions/{session}/messages/{message}/"
    siblings: list[str] = (await gateway.http.get(path)).json()["sibling_ids"]
    return siblings


@pytest.mark.parametrize("by", ["answer", "question", "v1"])
async def test_another_answer_names_the_former_ones(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, by: str
) -> None:
    session = await new_session(gateway)
    base = f"/ai-chat/api/sessions/{session}"
    async with at(gateway, session) as here, at(other, session) as there:
        await here.next()
        await there.next()
        sent = asking(gateway, "POST", f"{base}/send_message/", message="hi")
        first = await answered(worker, sent)
        for message in (first["ai_message"], first["user_message"]):
            assert message["sibling_ids"] == [message["id"]]
        question, told = await shown(here)
        await shown(there)
        assert question is not None
        for message in (question, told):
            assert message["sibling_ids"] == [message["id"]]
        named = told["id"] if by == "answer" else question["id"]
        for _ in range(2):
            answer: dict[str, Any] = {}
            if by == "v1":
                messages = [{"role": "user", "content": "hi"}]
                path, body = "/v1/chat/completions", {"messages": messages, "sessionId": session}
                await answered(worker, asking(gateway, "POST", path, model="demo", **body))
            else:
                path = f"{base}/messages/{named}/regenerate/"
                answer = (await answered(worker, asking(gateway, "POST", path)))["ai_message"]
            former = told
            (new, told), (_, elsewhere) = await asyncio.gather(shown(here), shown(there))
            assert new is None
            assert told["sibling_ids"] == elsewhere["sibling_ids"]
            assert by == "v1" or answer["sibling_ids"] == told["sibling_ids"]
            assert told["sibling_ids"][-2:] == [former["id"], told["id"]]

    assert len(told["sibling_ids"]) == 3
    assert await stored(gateway, session, told["id"]) == told["sibling_ids"]


@pytest.mark.parametrize("by", ["edit", "parent"])
async def test_another_wording_names_the_former_ones(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, by: str
) -> None:
    session = await new_session(gateway)
    base = f"/ai-chat/api/sessions/{session}"
    before = await answered(worker, asking(gateway, "POST", f"{base}/send_message/", message="hi"))
    parent = before["ai_message"]["id"]
    sent = asking(gateway, "POST", f"{base}/send_message/", message="one")
    wordings = [(await answered(worker, sent))["user_message"]["id"]]
    async with at(gateway, session) as here, at(other, session) as there:
        await here.next()
        await there.next()
        for wording in ("two", "three"):
            if by == "edit":
                path = f"{base}/messages/{wordings[-1]}/"
                edited = await answered(worker, asking(gateway, "PATCH", path, message=wording))
            else:
                body = {"message": wording, "parent_id": parent}
                sent = asking(gateway, "POST", f"{base}/send_message/", **body)
                edited = await answered(worker, sent)
            (question, told), (elsewhere, _) = await asyncio.gather(shown(here), shown(there))
            assert question == elsewhere
            assert question is not None
            wordings.append(question["id"])
            assert question["sibling_ids"] == edited["user_message"]["sibling_ids"] == wordings
            for message in (told, edited["ai_message"]):
                assert message["sibling_ids"] == [message["id"]]

    assert await stored(gateway, session, wordings[-1]) == wordings


async def test_a_socket_that_begins_another_branch_is_told_what_stands_beside_it(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await new_session(gateway)
    async with at(gateway, session) as person:
        await person.next()
        questions: list[dict[str, Any]] = []
        answers: list[dict[str, Any]] = []
        for _ in range(3):
            more = {"parent_id": answers[0]["id"]} if answers else {}
            await person.say(send("hi", **more))
            job = await worker.take()
            await job.say("so")
            await job.end()
            question, answer = await shown(person)
            assert question is not None
            questions.append(question)
            answers.append(answer)

    assert [len(question["sibling_ids"]) for question in questions] == [1, 1, 2]
    assert [question["sibling_ids"][-1] for question in questions] == [it["id"] for it in questions]
    assert questions[2]["sibling_ids"] == [question["id"] for question in questions[1:]]
