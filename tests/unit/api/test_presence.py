"""How many sockets a session has: counts of gateways that come, go, and go without a word."""

import json

from services.api.sockets.outlet import Outlet
from services.api.sockets.presence import Presence
from tests.support.waiting import eventually


class Scene:
    """One gateway with one curious socket."""

    def __init__(self) -> None:
        self.time = 0.0
        self.said: list[tuple[int, bool]] = []
        self.outlet = Outlet("me", full=False, clock=self.clock, presence=True)
        self.outlets: set[Outlet] = set()
        self.presence = Presence(self.outlets, "here", self.say, self.clock)

    def clock(self) -> float:
        return self.time

    async def say(self, participants: int, *, asks: bool) -> None:
        self.said.append((participants, asks))

    async def told(self) -> list[int]:
        return [json.loads(text)["participants"] for text in await self.outlet.take(0)]


async def test_a_gateway_that_died_is_counted_for_half_a_minute_only() -> None:
    scene = Scene()
    scene.outlets.add(scene.outlet)
    scene.presence.changed()
    scene.presence.heard("there", 2, asks=False)
    assert await scene.told() == [1, 3]
    scene.time += 29
    scene.presence.changed()
    assert await scene.told() == []
    scene.time += 2
    scene.presence.changed()
    assert await scene.told() == [1]
    await scene.presence.close()
    assert scene.said[-1] == (0, False)


async def test_who_was_asked_tells_and_does_not_ask_back() -> None:
    scene = Scene()
    scene.outlet.presence = False
    scene.outlets.add(scene.outlet)
    scene.presence.changed()
    await eventually(lambda: scene.said == [(1, False)])
    scene.outlets.add(Outlet("other", full=False, clock=scene.clock))
    scene.presence.heard("there", 1, asks=True)
    await eventually(lambda: scene.said == [(1, False), (2, False)])
    assert await scene.told() == []
    await scene.presence.close()


async def test_its_own_words_are_not_counted_twice() -> None:
    scene = Scene()
    scene.outlets.add(scene.outlet)
    scene.presence.changed()
    scene.presence.heard("here", 1, asks=True)
    assert await scene.told() == [1]
    await scene.presence.close()
