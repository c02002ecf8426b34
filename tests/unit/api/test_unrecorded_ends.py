"""A cancel says that something has ended when that is recorded, and not before."""

from datetime import timedelta

import pytest

from services.api.access.caller import LOCAL_USER
from services.api.ports.broker import Heard
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted
from shared.contracts.ids import new_completion_id
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld, client_of
from tests.support.waiting import eventually


@pytest.mark.parametrize("queued", [True, False], ids=["it waits in the queue", "nobody has it"])
async def test_a_cancel_whose_end_cannot_be_recorded_is_under_way(queued: bool) -> None:
    world = FakeWorld()
    world.workers.heard = Heard.NOBODY
    completion, reply_subject = new_completion_id(), "chat.chunks.gw.x"
    accepted = CompletionAccepted(
        completion_id=completion,
        user_id=LOCAL_USER,
        model="demo",
        accepted_at=NOON,
        overdue_after_s=1,
        reply_subject=reply_subject,
    )
    await world.journal.accept(accepted)
    if queued:
        run = RunCompletion(
            completion_id=completion,
            reply_subject=reply_subject,
            user_id=LOCAL_USER,
            model="demo:latest",
            display_model="demo",
            created_at=NOON,
            messages=[],
            generating_deadline=timedelta(seconds=1),
        )
        await world.notes.note(completion, await world.queue.enqueue(run.to_bytes(), "demo", "a"))
    world.journal.deaf = True
    path = f"/v1/chat/completions/{completion}/cancel"
    async with client_of(world) as client:
        told = (await client.post(path)).json()
        assert (told["status"], world.journal.ends) == ("cancelling", {})

        world.journal.deaf = False
        if queued:
            # Who took it out of the queue owes its end, asked again or not.
            await eventually(lambda: completion in world.journal.ends)
        again = (await client.post(path)).json()
    assert again["status"] == "cancelled"
    assert world.journal.ends[completion].status is CompletionStatus.CANCELLED
