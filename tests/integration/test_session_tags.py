"""The tag of a session is another one when a turn has been stored, and good for a change."""

import asyncio

import pytest

from tests.fakes.api.gateway import RunningGateway
from tests.fakes.api.people import new_session
from tests.fakes.api.worker import ScriptedWorker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]


@pytest.mark.parametrize("face", ["/api/chat/sessions/", "/ai-chat/api/sessions/"])
async def test_the_tag_changes_with_what_is_shown_and_a_turn_is_no_conflict(
    face: str, gateway: RunningGateway, worker: ScriptedWorker
) -> None:
    path = f"{face}{await new_session(gateway)}/"
    before = await gateway.http.get(path)
    asked = asyncio.create_task(gateway.http.post(f"{path}send_message/", json={"message": "hi"}))
    job = await worker.take()
    await job.say("so")
    await job.end()
    assert (await asked).status_code == 200
    after = await gateway.http.get(path)

    assert before.json() != after.json()
    assert before.headers["etag"] != after.headers["etag"]
    assert (await gateway.http.get(path)).headers["etag"] == after.headers["etag"]
    # Nobody has changed the title since.
    seen = {"If-Match": before.headers["etag"]}
    changed = await gateway.http.patch(path, json={"title": "Mine"}, headers=seen)
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (await gateway.http.delete(path, headers=seen)).status_code == 412
