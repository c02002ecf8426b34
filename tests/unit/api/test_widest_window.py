"""How long a prompt anybody could have evaluated: it bounds what is charged without a count."""

import pytest

from services.api.completions.catalog import Catalog
from shared.contracts.completions import RunCompletion
from tests.fakes.api.ports import SetClock
from tests.fakes.api.worker import CARD, announcement
from tests.fakes.api.world import FakeWorld, client_of


@pytest.mark.parametrize(
    ("windows", "widest"),
    [([4096, 32768, 8192], 32768), ([4096, None], None), ([None], None), ([], None)],
)
def test_the_widest_of_all_workers_counts_and_none_where_one_does_not_say(
    windows: list[int | None], widest: int | None
) -> None:
    catalog = Catalog(SetClock(), age=12)
    other = CARD.model_copy(update={"name": "other:latest", "context_length": 10**6})
    for number, window in enumerate(windows):
        card = CARD.model_copy(update={"context_length": window})
        said = announcement(f"w{number}").model_copy(update={"models": [other, card]})
        catalog.put(said)
    assert catalog.window("demo") == catalog.window("demo:latest") == widest


async def test_a_request_takes_it_along_to_whoever_runs_it() -> None:
    world = FakeWorld()
    world.answer("Hi")
    async with client_of(world) as http:
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        assert (await http.post("/v1/chat/completions", json=ask)).status_code == 200
    (data,) = world.queue.requests.values()
    assert RunCompletion.from_bytes(data).window == CARD.context_length
