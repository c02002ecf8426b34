"""A sync says what has changed, who failed, and is over in time."""

import asyncio
import contextlib

import pytest

from services.api.background import Background
from services.api.completions.catalog import Catalog
from services.api.sessions.syncing import FailedWorker, Synced, Syncing
from shared.contracts.workers import EngineRelisted, EngineState, ModelCard, WorkerAnnouncement
from tests.fakes.api.ports import FakeClock
from tests.fakes.api.relisting import FakeRelisting
from tests.fakes.api.world import FakeWorld, client_of
from tests.support.waiting import eventually


def card(name: str, **fields: object) -> ModelCard:
    return ModelCard.model_validate({"name": f"{name}:latest", **fields})


class _Scene:
    """A gateway that knows workers, and a syncing of its own with little patience."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.catalog = Catalog(self.clock, age=12)
        self.relisting = FakeRelisting(self.catalog)
        self.background = Background()
        self.syncing = Syncing(
            self.catalog, self.relisting, self.background, self.clock, deadline=0.1
        )

    def announce(self, worker_id: str, *cards: ModelCard) -> None:
        engine = EngineState(url="http://engine", ok=True)
        self.catalog.put(
            WorkerAnnouncement(
                worker_id=worker_id, slots=1, free=1, models=list(cards), engine=engine
            )
        )

    async def begun(self) -> asyncio.Task[Synced]:
        """A sync whose workers have been asked."""
        running = asyncio.create_task(self.syncing.sync())
        await eventually(lambda: self.relisting.expected)
        return running

    def lists(self, worker_id: str, *cards: ModelCard, error: str | None = None) -> None:
        """Let the worker reply so, and not yet announce it."""
        self.relisting.replies[worker_id] = EngineRelisted(
            worker_id=worker_id, models=list(cards), error=error
        )


async def test_what_came_went_and_changed_is_told_by_name() -> None:
    scene = _Scene()
    scene.announce("w1", card("stays"), card("goes"), card("changes"))
    now = [card("stays"), card("comes"), card("changes", modified_at=7)]
    scene.lists("w1", *now)
    scene.relisting.go.clear()
    running = await scene.begun()
    scene.announce("w1", *now)
    scene.relisting.go.set()

    assert await running == Synced(["comes"], ["goes"], ["changes"], 1, [])


async def test_it_waits_until_the_catalog_shows_what_the_workers_say() -> None:
    scene = _Scene()
    scene.announce("w1", card("a"))
    scene.lists("w1", card("a"), card("b"))
    asyncio.get_running_loop().call_later(0.05, scene.announce, "w1", card("a"), card("b"))

    assert (await scene.syncing.sync()).added == ["b"]


async def test_a_list_that_is_never_announced_is_a_failure_and_no_change() -> None:
    scene = _Scene()
    scene.announce("w1", card("a"))
    scene.lists("w1", card("a"), card("b"))

    late = FailedWorker("w1", "its list was not announced in time")
    assert await scene.syncing.sync() == Synced([], [], [], 0, [late])


async def test_a_model_that_another_worker_still_has_is_not_removed() -> None:
    scene = _Scene()
    scene.announce("w1", card("a"))
    scene.announce("w2", card("a"))
    scene.lists("w1")
    asyncio.get_running_loop().call_later(0.01, scene.announce, "w1")

    assert await scene.syncing.sync() == Synced([], [], [], 2, [])


async def test_who_fails_and_who_is_silent_are_named_and_their_models_stay() -> None:
    scene = _Scene()
    for worker_id in ("w1", "w2", "w3"):
        scene.announce(worker_id, card(worker_id))
    scene.lists("w1", card("w1"), error="connection refused")
    scene.relisting.replies["w2"] = None

    synced = await scene.syncing.sync()

    assert synced == Synced(
        [],
        [],
        [],
        1,
        [FailedWorker("w1", "connection refused"), FailedWorker("w2", "no answer within 0.1 s")],
    )
    assert scene.relisting.expected == [{"w1", "w2", "w3"}]


async def test_who_leaves_meanwhile_has_not_answered_and_its_models_are_gone() -> None:
    scene = _Scene()
    scene.announce("w1", card("a"))
    scene.relisting.go.clear()
    running = await scene.begun()
    scene.catalog.remove("w1")
    scene.relisting.go.set()

    silent = FailedWorker("w1", "no answer within 0.1 s")
    assert await running == Synced([], ["a"], [], 0, [silent])


async def test_those_who_ask_while_one_runs_share_it_also_when_the_first_leaves() -> None:
    scene = _Scene()
    scene.announce("w1", card("a"))
    scene.relisting.go.clear()
    first = await scene.begun()
    second, third = (asyncio.create_task(scene.syncing.sync()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    scene.relisting.go.set()

    assert await second == await third == Synced([], [], [], 1, [])
    assert len(scene.relisting.expected) == 1
    await scene.syncing.sync()
    assert len(scene.relisting.expected) == 2


@pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])
async def test_over_http_it_has_the_same_words_on_both_faces(face: str) -> None:
    world = FakeWorld()
    world.relisting.replies["w9"] = EngineRelisted(worker_id="w9", error="stopping")
    async with client_of(world) as client:
        reply = await client.post(f"{face}/models/sync_models/")
        assert (reply.status_code, reply.json()) == (
            200,
            {
                "added": [],
                "removed": [],
                "updated": [],
                "workers": 1,
                "failed": [{"worker": "w9", "error": "stopping"}],
            },
        )
        world.relisting.away = True
        away = await client.post(f"{face}/models/sync_models/")
        assert away.status_code == 503
        assert away.json()["error"]["code"] == "broker_unavailable"
