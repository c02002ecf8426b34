"""What becomes of a delivered event."""

import asyncio
from datetime import datetime

import pytest

from services.history.event_format import Event
from services.history.event_ports import RawEvent
from services.history.intake import ATTEMPTS, Intake
from services.history.news import News, TurnNews
from services.history.recorder import Recorder
from shared.contracts import subjects
from tests.fakes.history.conversation import NOON, Turn, stateless
from tests.fakes.history.log import MemoryDeadLetters, MemoryLog, RecordingDelivery, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.told import Told


class _Broken(Recorder):
    """Fails in a way that has nothing to do with the database."""

    tries = 0

    async def record(self, event: Event, time: datetime) -> bool:
        self.tries += 1
        raise KeyError(event.completion_id)


class _Scene:
    """An intake with everything around it; pausing is instant and may change the world."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.letters = MemoryDeadLetters()
        self.pauses: list[float] = []
        self.back_after = 0
        self.stored: list[int] = []
        self.held: list[bool] = []
        self.recorder = Recorder(self.store)
        self.log = MemoryLog()
        self.told = Told()

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.held.append(self.intake.holding)
        await asyncio.sleep(0)
        if len(self.pauses) == self.back_after:
            self.store.available = True

    async def take(self, event: RawEvent, *, heartbeat: float = 10) -> list[str]:
        self.intake = Intake(
            self.recorder,
            TurnNews(self.store, self.store, News(self.told)),
            self.letters,
            self.log,
            on_stored=self.stored.append,
            pause=self.pause,
            heartbeat=heartbeat,
        )
        delivery = RecordingDelivery(event)
        await self.intake.take(delivery)
        return delivery.calls


async def test_an_event_is_acknowledged_once_it_is_stored() -> None:
    scene, event = _Scene(), raw(stateless(), NOON)

    assert await scene.take(event) == ["done"]
    assert len(scene.store.usage) == 1
    assert scene.stored == [len(event.data)]


async def test_a_database_that_is_away_is_waited_out_and_never_buried() -> None:
    scene = _Scene()
    scene.store.available = False
    scene.back_after = 50

    assert await scene.take(raw(stateless(), NOON)) == ["done"]

    assert len(scene.store.usage) == 1
    assert scene.letters.buried == []
    assert len(scene.pauses) == 50
    assert max(scene.pauses) == 1.0
    assert all(scene.held)
    assert not scene.intake.holding


async def test_an_event_in_hand_gives_signs_of_life() -> None:
    scene = _Scene()
    scene.store.available = False
    scene.back_after = 20

    calls = await scene.take(raw(stateless(), NOON), heartbeat=0)

    assert calls[-1] == "done"
    assert set(calls[:-1]) == {"in_progress"}


@pytest.mark.parametrize(
    "poison",
    [
        RawEvent(subjects.completed(Turn().completion_id), 7, NOON, b"not json"),
        RawEvent(subjects.completed(Turn().completion_id), 7, NOON, b"{}"),
        RawEvent("chat.events.unknown.x", 7, NOON, stateless().to_bytes()),
        RawEvent(subjects.completed(Turn().completion_id), 7, NOON, stateless().to_bytes()),
    ],
    ids=["no JSON", "another shape", "unknown subject", "another completion"],
)
async def test_poison_is_buried_as_it_came_and_dropped(poison: RawEvent) -> None:
    scene = _Scene()

    assert await scene.take(poison) == ["drop"]
    ((buried, reason),) = scene.letters.buried
    assert buried == poison
    assert reason


async def test_poison_that_cannot_be_buried_is_not_dropped() -> None:
    scene = _Scene()
    scene.letters.available = False

    assert await scene.take(RawEvent("chat.events.x", 7, NOON, b"")) == ["again"]


async def test_an_error_that_stays_is_poison_after_five_attempts() -> None:
    scene = _Scene()
    scene.recorder = broken = _Broken(scene.store)

    assert await scene.take(raw(stateless(), NOON)) == ["drop"]
    assert broken.tries == ATTEMPTS == 5
    assert "KeyError" in scene.letters.buried[0][1]


async def test_the_reason_of_a_burial_quotes_nothing() -> None:
    scene = _Scene()
    secret = b'{"completion_id": {"prompt": "my secret"}}'

    await scene.take(RawEvent(subjects.completed(Turn().completion_id), 7, NOON, secret))

    assert "secret" not in scene.letters.buried[0][1]
