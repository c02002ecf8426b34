"""Who shows the list of sessions hears of changes, and of nothing else."""

from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = "/api/chat/sessions/"


async def test_a_change_that_changes_nothing_is_not_announced() -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    async with client_of(world) as client:
        made = await client.post(SESSIONS, json={"title": "Plans", "temperature": 0.5})
        path = f"{SESSIONS}{made.json()['id']}/"
        same = {"title": "Plans", "temperature": 0.5, "model": None}
        answers = [await client.patch(path, json=same), await client.put(path, json=same)]
        await world.background.aclose(1)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["etag"] for answer in answers] == ['"1"', '"1"']
    assert [event.type for event in world.live.said] == ["session_created"]


async def test_a_change_is_announced_with_its_version() -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    async with client_of(world) as client:
        made = await client.post(SESSIONS, json={"title": "Plans"})
        for title in ("Mine", "Mine", "Ours"):
            await client.patch(f"{SESSIONS}{made.json()['id']}/", json={"title": title})
        await world.background.aclose(1)

    told = [event.session for event in world.live.said if event.type == "session_updated"]
    assert [(it.title, it.version) for it in told if it is not None] == [("Mine", 2), ("Ours", 3)]


async def test_a_turn_that_is_taken_back_is_announced_as_over() -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    world.queue.full = True
    async with client_of(world) as client:
        made = await client.post(SESSIONS, json={"model": "demo"})
        path = f"{SESSIONS}{made.json()['id']}/send_message/"
        assert (await client.post(path, json={"message": "Hello"})).status_code == 429
        await world.background.aclose(1)

    begun, over = [event for event in world.live.said if event.completion_id is not None]
    assert (begun.type, begun.title) == ("turn_started", "Hello")
    assert (over.type, over.completion_id) == ("session_updated", begun.completion_id)
