"""Tools that a session asks for and the model is not offered: named, on every way in."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import at, send
from tests.fakes.api.worker import Job, ScriptedWorker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

API = "/ai-chat/api/sessions/"
HEADER = "x-parley-unavailable-tools"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def session_of(gateway: RunningGateway, **settings: object) -> str:
    made = await gateway.http.post(API, json={"model": "demo", **settings})
    assert made.status_code == 201
    return str(made.json()["id"])


async def asked(
    gateway: RunningGateway, worker: ScriptedWorker, method: str, path: str, **body: object
) -> tuple[Job, httpx.Response]:
    asking = asyncio.create_task(gateway.http.request(method, path, json=body))
    job = await worker.take()
    await job.say("so")
    await job.end()
    answer = await asking
    assert answer.status_code == 200
    return job, answer


async def test_send_regenerate_and_edit_name_the_tools_that_nobody_here_has(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await session_of(gateway, tools=["url-context"])
    base = f"{API}{session}/"
    job, first = await asked(gateway, worker, "POST", f"{base}send_message/", message="hi")
    assert first.headers[HEADER] == "url-context"
    assert job.command.tools == []
    question = first.json()["user_message"]["id"]
    answer = first.json()["ai_message"]["id"]
    path = f"{base}messages/{answer}/regenerate/"
    _, again = await asked(gateway, worker, "POST", path, tools=["image-generation", "search"])
    assert again.headers[HEADER] == "image-generation, search"
    path = f"{base}messages/{question}/"
    _, edited = await asked(gateway, worker, "PATCH", path, message="ho", stream=True)
    assert edited.headers[HEADER] == "url-context"
    _, none = await asked(gateway, worker, "POST", f"{base}send_message/", message="x", tools=[])
    assert HEADER not in none.headers


async def test_tools_of_a_preset_and_of_preferences_are_named_too(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    preset = await gateway.http.post(
        "/ai-chat/api/presets/", json={"name": "p", "model": "demo", "tools": ["of-preset"]}
    )
    made = await gateway.http.post(
        f"/ai-chat/api/presets/{preset.json()['id']}/create_session_from_preset/", json={}
    )
    path = f"{API}{made.json()['id']}/send_message/"
    _, answer = await asked(gateway, worker, "POST", path, message="hi")
    assert answer.headers[HEADER] == "of-preset"

    preferred = {"tools": ["preferred"]}
    stored = await gateway.http.put("/ai-chat/api/preferences/", json=preferred)
    assert stored.status_code == 200
    path = f"{API}{await session_of(gateway)}/send_message/"
    _, answer = await asked(gateway, worker, "POST", path, message="hi")
    assert answer.headers[HEADER] == "preferred"


async def test_sockets_of_all_gateways_and_a_repeat_with_the_key_name_them(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await session_of(gateway, tools=["url-context"])
    async with at(gateway, session) as here, at(other, session) as there:
        await asyncio.gather(here.next(), there.next())
        await here.say(send("hi"))
        job = await worker.take()
        await job.say("so")
        await job.end()
        for person in (here, there):
            typing = await person.next("ai_typing")
            assert typing["unavailable_tools"] == ["url-context"]
            await person.next("ai_message_complete")
        await here.say(send("again", tools=[]))
        job = await worker.take()
        await job.end()
        for person in (here, there):
            assert "unavailable_tools" not in await person.next("ai_typing")

    path, key = f"{API}{session}/send_message/", {"Idempotency-Key": "k"}
    gateway.http.headers.update(key)
    other.http.headers.update(key)
    _, first = await asked(gateway, worker, "POST", path, message="keyed")
    repeat = await other.http.post(path, json={"message": "keyed"})
    assert first.headers[HEADER] == repeat.headers[HEADER] == "url-context"


async def test_a_model_whose_tools_are_switched_off_is_sent_none_in_a_session(
    gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    session = await session_of(gateway)
    body: dict[str, Any] = {
        "model": "demo",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [TOOL, "url-context"],
    }
    path = "/v1/chat/completions"
    job, on = await asked(gateway, worker, "POST", path, **body, sessionId=session)
    assert [tool.name for tool in job.command.tools] == ["weather"]
    assert on.headers[HEADER] == "url-context"

    switched = await gateway.http.put("/ai-chat/api/models/demo/settings/", json={"tools": False})
    assert switched.status_code == 200
    body["messages"] = [{"role": "user", "content": "once more"}]
    job, off = await asked(gateway, worker, "POST", path, **body, sessionId=session)
    assert job.command.tools == []
    assert off.headers[HEADER] == "url-context, weather"
    # Plain ``/v1`` is taken as it is.
    job, plain = await asked(gateway, worker, "POST", path, **body)
    assert [tool.name for tool in job.command.tools] == ["weather"]
    assert plain.headers[HEADER] == "url-context"
