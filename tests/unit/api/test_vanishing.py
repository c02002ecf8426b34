"""A broker that lost its data is no reason to ping a client until all deadlines have passed."""

import math

from services.api.ports.mailbox import Mailbox
from services.api.streams.vanishing import Vanishing
from shared.contracts.events import CompletionAccepted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import UserId, new_completion_id
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeBroker, FakeJournal, FakeQueue, FakeQueueNotes, SetClock


class Scene:
    def __init__(self) -> None:
        self.broker, self.journal, self.clock = FakeBroker(), FakeJournal(), SetClock()
        self.completion_id = new_completion_id()
        self.mailbox = Mailbox(1000, clock=self.clock.monotonic)
        self.vanishing = Vanishing(
            self.completion_id,
            self.mailbox,
            broker=self.broker,
            journal=self.journal,
            notes=FakeQueueNotes(FakeQueue()),
            clock=self.clock,
            silence=6,
        )

    async def after_a_reconnect(self) -> bool:
        self.broker.reconnects += 1
        assert not await self.vanishing.happened()
        assert self.vanishing.due() == self.clock.time + 6
        self.clock.time += 7
        return await self.vanishing.happened()


async def test_without_a_reconnect_nobody_asks() -> None:
    scene = Scene()
    scene.clock.time += 1000
    assert not await scene.vanishing.happened()
    assert scene.vanishing.due() == math.inf


async def test_what_nobody_knows_after_a_reconnect_has_vanished() -> None:
    scene = Scene()
    assert await scene.after_a_reconnect()


async def test_what_the_journal_still_has_has_not() -> None:
    scene = Scene()
    await scene.journal.accept(
        CompletionAccepted(
            completion_id=scene.completion_id,
            user_id=UserId("local"),
            model="demo",
            accepted_at=NOON,
            overdue_after_s=1,
        )
    )
    assert not await scene.after_a_reconnect()
    assert scene.vanishing.due() == math.inf


async def test_a_worker_that_is_heard_since_has_it() -> None:
    scene = Scene()
    scene.broker.reconnects += 1
    assert not await scene.vanishing.happened()
    scene.clock.time += 3
    scene.mailbox.put(Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b""))
    scene.clock.time += 4
    assert not await scene.vanishing.happened()


async def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    scene = Scene()
    scene.journal.away = True
    assert not await scene.after_a_reconnect()
    assert scene.vanishing.due() == scene.clock.time + 1
    scene.journal.away = False
    scene.clock.time += 2
    assert await scene.vanishing.happened()
