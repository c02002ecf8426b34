"""Which lane a request takes: a user's own unfinished ones decide, nobody else's."""

from services.api.completions.draining import Drain
from services.api.completions.orders import Order
from services.api.completions.turn_lease import TurnLeases
from services.api.streams.watching import Watching
from services.api.wiring import build_state
from shared.contracts.chat import Message
from shared.contracts.ids import UserId, new_completion_id
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld


def order(user: str) -> Order:
    return Order(
        completion_id=new_completion_id(),
        created_at=NOON,
        user_id=UserId(user),
        model="demo",
        messages=[Message(role="user", content="Hi")],
    )


async def test_one_users_fifty_leave_the_fast_lane_to_another() -> None:
    world, settings = FakeWorld(), quick_settings()
    async with world.open(settings) as opened:
        watching = Watching(world.watchers, world.clock, grace=60)
        leases = TurnLeases(opened.turns, opened.journal)
        state = build_state(settings, opened, leases, watching, Drain())
        for _ in range(50):
            await state["completions"].start(order("many"), None)
        await state["completions"].start(order("one"), None)
    assert world.queue.lanes == ["a"] * 2 + ["b"] * 48 + ["a"]
