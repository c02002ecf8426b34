"""Who is said to watch, and that nothing silences the one who says it."""

import asyncio

import pytest

from services.api.forever import forever
from services.api.ports.mailbox import Mailbox
from services.api.streams.lingering import Lingering, Outcome
from services.api.streams.watching import Watching
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeClock, FakeJournal, FakeWatchers
from tests.support.waiting import eventually

ID = CompletionId("chatcmpl-" + "0" * 32)


class Bench:
    def __init__(self, grace: float = 0.3) -> None:
        self.clock, self.journal, self.watchers = FakeClock(), FakeJournal(), FakeWatchers()
        self.watching = Watching(self.watchers, self.clock, grace=grace)
        self.mailbox = Mailbox(2**16, clock=self.clock.monotonic, relays=False)
        self.lingering = Lingering(
            self.watching, self.watchers, self.journal, self.clock, grace=grace, silence=5
        )

    async def wait(self) -> Outcome:
        overall = self.clock.monotonic() + 5
        return await asyncio.wait_for(self.lingering.wait(ID, self.mailbox, overall), 5)


def ended() -> CompletionCompleted:
    return CompletionCompleted(
        completion_id=ID,
        user_id=UserId("u"),
        model="m",
        status=CompletionStatus.COMPLETED,
        created_at=NOON,
        completed_at=NOON,
    )


async def test_each_completion_is_said_once_however_many_watch_it() -> None:
    bench = Bench()
    for _ in range(3):
        bench.watching.enter(ID)
    bench.watching.leave(ID)
    await bench.watching.tell_all()
    assert bench.watchers.said == [(ID, False)]
    bench.watching.leave(ID)
    bench.watching.leave(ID)
    await bench.watching.tell_all()
    assert bench.watchers.said == [(ID, False)]


async def test_a_surprise_or_a_broker_that_is_away_silences_nobody_for_ever() -> None:
    bench = Bench(grace=0.03)
    bench.watching.enter(ID)
    bench.watchers.surprise = RuntimeError("nobody thought of this")
    keeping = asyncio.create_task(bench.watching.keep())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(keeping), 0.1)
    bench.watchers.surprise, bench.watchers.away = None, True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(keeping), 0.1)
    bench.watchers.away = False
    await eventually(lambda: bench.watchers.said)
    keeping.cancel()


async def test_periodic_work_goes_on_after_whatever_it_raises() -> None:
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("surprise")

    task = asyncio.create_task(forever(work, 0.001, "test"))
    await eventually(lambda: len(calls) > 3)
    assert not task.done()
    task.cancel()


async def test_nobody_anywhere_means_forsaken_and_until_then_it_is_said_to_be_in_grace() -> None:
    bench = Bench()
    waiting = asyncio.create_task(bench.wait())
    await eventually(lambda: bench.watching.in_grace(ID))
    await bench.watching.tell_all()
    assert bench.watchers.said == [(ID, True)]
    assert await waiting == Outcome(None, forsaken=True)
    assert not bench.watching.in_grace(ID)
    assert bench.watchers.ears == {ID: []}


async def test_a_viewer_elsewhere_or_here_means_not_forsaken() -> None:
    for elsewhere in (True, False):
        bench = Bench()
        waiting = asyncio.create_task(bench.wait())
        while not waiting.done():
            if elsewhere:
                bench.watchers.hear(ID)
            elif not bench.watching.has_viewer(ID):
                bench.watching.enter(ID)
            await asyncio.wait({waiting}, timeout=0.02)
        assert waiting.result() == Outcome(None, forsaken=False)


async def test_a_word_from_long_ago_does_not_count() -> None:
    bench = Bench(grace=0.5)
    waiting = asyncio.create_task(bench.wait())
    await eventually(lambda: bench.watchers.ears.get(ID))
    bench.watchers.hear(ID)
    assert (await waiting).forsaken


async def test_the_end_ends_the_grace() -> None:
    bench = Bench(grace=3)
    waiting = asyncio.create_task(bench.wait())
    await eventually(lambda: bench.watching.in_grace(ID))
    bench.journal.ends[ID] = ended()
    bench.mailbox.put(Frame(FrameKind.END, 1, 0, 0, 0, 0, 0, b""))
    assert await asyncio.wait_for(waiting, 1) == Outcome(ended(), forsaken=False)


async def test_who_could_not_hear_others_stops_nothing() -> None:
    bench = Bench()
    bench.watchers.away = True
    assert await bench.wait() == Outcome(None, forsaken=False)


async def test_two_graces_of_one_completion_do_not_trip_over_each_other() -> None:
    bench = Bench(grace=0.1)
    other = Mailbox(2**16, clock=bench.clock.monotonic, relays=False)
    overall = bench.clock.monotonic() + 5

    first = asyncio.create_task(bench.lingering.wait(ID, bench.mailbox, overall))
    second = asyncio.create_task(bench.lingering.wait(ID, other, overall))
    outcomes = await asyncio.wait_for(asyncio.gather(first, second), 5)

    assert list(outcomes) == [Outcome(None, forsaken=True)] * 2
    assert not bench.watching.in_grace(ID)
