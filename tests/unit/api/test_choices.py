"""What is read a moment ago is not read again, and never longer than that."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.api.background import Background
from services.api.sessions.choices import Choices
from services.api.sessions.remembered import Remembered
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId
from shared.contracts.live import SettingsChanged
from shared.contracts.presets import ModelSettings, Preferences
from shared.contracts.questions import Q, Question, R
from shared.errors import HistoryUnavailable
from tests.fakes.api.asking import FakeAsking
from tests.fakes.api.history import FakeHistory
from tests.fakes.api.ports import SetClock

ANN, BOB = UserId("ann"), UserId("bob")


class _Scene:
    """Two gateways before one history."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.history = FakeHistory()
        self.asking = FakeAsking(self.history)
        self.here = Choices(self.asking, Background(), self.clock)
        self.there = Choices(self.asking, Background(), self.clock)


async def test_turns_within_three_seconds_cost_one_question_of_each_kind() -> None:
    scene = _Scene()
    for _ in range(5):
        await scene.here.preferences(ANN)
        await scene.here.models()
    assert sorted(scene.asking.names) == ["get_preferences", "model_settings"]

    await scene.here.preferences(BOB)
    assert len(scene.asking.names) == 3


async def test_a_change_is_seen_here_at_once_and_at_another_gateway_soon() -> None:
    scene = _Scene()
    for gateway in (scene.here, scene.there):
        await gateway.preferences(ANN)
        await gateway.models()

    await scene.here.set_preferences(ANN, Preferences(model="demo"))
    await scene.here.set_model(ModelSettings(model="demo", hidden=True))
    await scene.here.set_default("demo")

    assert (await scene.here.preferences(ANN)).model == "demo"
    assert (await scene.here.models()).default_model == "demo:latest"
    assert (await scene.there.preferences(ANN)).model is None
    scene.clock.time += 3
    assert (await scene.there.preferences(ANN)).model == "demo"
    assert (await scene.there.models()).models == [ModelSettings(model="demo:latest", hidden=True)]


async def test_what_history_says_has_changed_is_read_anew_and_nothing_else() -> None:
    scene = _Scene()
    for user in (ANN, BOB):
        await scene.there.preferences(user)
    await scene.there.models()
    await scene.here.set_preferences(ANN, Preferences(model="demo"))
    await scene.here.set_default("demo")
    scene.asking.names.clear()

    for event in scene.asking.told.settings:
        scene.there.changed(event)

    assert (await scene.there.preferences(ANN)).model == "demo"
    assert (await scene.there.models()).default_model == "demo:latest"
    assert scene.asking.names == ["get_preferences", "model_settings"]
    await scene.there.preferences(BOB)
    assert scene.asking.names == ["get_preferences", "model_settings"]


async def test_nothing_is_remembered_where_words_may_have_been_missed() -> None:
    scene = _Scene()
    await scene.there.preferences(ANN)
    await scene.there.models()
    await scene.here.set_preferences(ANN, Preferences(model="demo"))
    await scene.here.set_default("demo")

    scene.there.missed()

    assert (await scene.there.preferences(ANN)).model == "demo"
    assert (await scene.there.models()).default_model == "demo:latest"


async def test_who_wants_to_see_what_holds_has_it_read() -> None:
    scene = _Scene()
    await scene.there.preferences(ANN)
    await scene.there.models()
    await scene.here.change_preferences(ANN, Preferences(model="demo"), [])
    await scene.here.set_default("demo")

    assert (await scene.there.read_preferences(ANN)).model == "demo"
    assert (await scene.there.read_models()).default_model == "demo:latest"


async def test_a_default_can_be_taken_back() -> None:
    scene = _Scene()
    await scene.here.set_default("demo")
    await scene.here.set_default(None)
    assert (await scene.here.models()).default_model is None


async def test_a_failure_is_told_and_not_remembered() -> None:
    scene = _Scene()
    scene.history.away = True
    with pytest.raises(HistoryUnavailable):
        await scene.here.preferences(ANN)

    scene.history.away = False
    assert await scene.here.preferences(ANN) == Preferences()


class _Slow:
    """A reading that ends when a test lets it."""

    def __init__(self) -> None:
        self.background = Background()
        self.reads = 0
        self.go = asyncio.Event()
        self.remembered = Remembered(self._load, self.background, SetClock(), seconds=3, most=2)

    async def _load(self, key: str) -> str:
        self.reads += 1
        await self.go.wait()
        return f"{key} {self.reads}"


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    slow = _Slow()
    first, second = (asyncio.create_task(slow.remembered.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    slow.go.set()

    assert await second == "a 1"
    assert first.cancelled() or not first.done()
    assert slow.reads == 1


async def test_a_change_during_a_reading_stands() -> None:
    slow = _Slow()
    reading = asyncio.create_task(slow.remembered.get("a"))
    await asyncio.sleep(0)
    slow.remembered.put("a", "new", slow.remembered.moment)
    slow.go.set()

    await reading
    assert await slow.remembered.get("a") == "new"


class _Overtaken:
    """Somebody else changes the same while this answer is on its way, and that is heard first."""

    def __init__(self, asking: FakeAsking, overtake: Callable[[], Awaitable[None]]) -> None:
        self._asking = asking
        self._overtake = overtake

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        answer = await self._asking.ask(question, query)
        if question.name.startswith(("set", "change")):
            await self._overtake()
        return answer


@pytest.mark.parametrize("missed", [False, True], ids=["heard", "perhaps missed"])
async def test_an_answer_that_comes_after_a_newer_word_is_not_remembered(missed: bool) -> None:
    scene = _Scene()

    async def newer() -> None:
        await scene.there.set_preferences(ANN, Preferences(model="newer"))
        await scene.there.set_default("newer")
        if missed:
            late.missed()
        else:
            for event in scene.asking.told.settings:
                late.changed(event)

    late = Choices(_Overtaken(scene.asking, newer), Background(), scene.clock)
    await late.set_preferences(ANN, Preferences(model="older"))
    assert (await late.preferences(ANN)).model == "newer"
    await late.change_preferences(ANN, SessionSettings(model="older"), [])
    assert (await late.preferences(ANN)).model == "newer"
    await late.set_default("older")
    assert (await late.models()).default_model == "newer:latest"


async def test_who_has_changed_something_reads_it_though_another_ones_has_changed_too() -> None:
    scene = _Scene()

    async def of_bob() -> None:
        late.changed(SettingsChanged(user_id=BOB))

    late = Choices(_Overtaken(scene.asking, of_bob), Background(), scene.clock)
    assert (await late.preferences(ANN)).model is None
    # The word of this very change may come later, or never.
    await late.set_preferences(ANN, Preferences(model="new"))
    assert (await late.preferences(ANN)).model == "new"


async def test_only_so_many_are_kept_and_the_oldest_goes() -> None:
    slow = _Slow()
    slow.go.set()
    for key in ("a", "b", "c"):
        await slow.remembered.get(key)
    await slow.remembered.get("c")
    assert slow.reads == 3
    await slow.remembered.get("a")
    assert slow.reads == 4
