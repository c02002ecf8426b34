"""Who shows the list of sessions hears of changes, and of nothing else."""

from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = "/api/chat/sessions/"


async def test_a_change_that_changes_nothing_is_not_announced() -> None:
    world = FakeWorld()
    world.history = history = WholeHistory()
    async with client_of(world) as client:
        made = await client.post(SESSIONS, json={"title": "Plans", "temperature": 0.5})
        path = f"{SESSIONS}{made.json()['id']}/"
        same = {"title": "Plans", "temperature": 0.5, "model": None}
        answers = [await client.patch(path, json=same), await client.put(path, json=same)]
        await world.background.aclose(1)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["etag"] for answer in answers] == ['"1"', '"1"']
    assert history.scene.told.types == ["session_created"]
    assert world.live.said == []


async def test_a_change_is_announced_with_its_version() -> None:
    world = FakeWorld()
    world.history = history = WholeHistory()
    async with client_of(world) as client:
        made = await client.post(SESSIONS, json={"title": "Plans"})
        for title in ("Mine", "Mine", "Ours"):
            await client.patch(f"{SESSIONS}{made.json()['id']}/", json={"title": title})
        await world.background.aclose(1)

    told = [it.session for it in history.scene.told.events if it.type == "session_updated"]
    assert [(it.title, it.version) for it in told if it is not None] == [("Mine", 2), ("Ours", 3)]
