"""Who shows the list of sessions hears of changes, and of nothing else."""

from uuid import uuid4

from services.api.access.caller import LOCAL_USER
from services.api.ports.sessions import TurnState
from shared.contracts.ids import SessionId
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of
from tests.fakes.history.conversation import NOON, Turn
from tests.fakes.history.log import raw

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


async def test_a_change_shows_the_turn_that_has_just_ended_and_waits_for_no_other() -> None:
    world = FakeWorld()
    world.history = history = WholeHistory()
    async with client_of(world) as client:
        session = SessionId((await client.post(SESSIONS, json={"title": "Plans"})).json()["id"])
        turn = Turn(session_id=session, user_id=LOCAL_USER)
        another = Turn(2, session_id=SessionId(str(uuid4())), user_id=LOCAL_USER)
        # Published, and on their way to a history that was killed.
        log = history.scene.log
        for number, it in enumerate((turn, another)):
            log.events.append(raw(it.accepted(), NOON, 2 * number + 1))
            log.events.append(raw(it.completed(), NOON, 2 * number + 2))
        await world.turns.set(session, TurnState(user_id=LOCAL_USER, last=turn.completion_id), None)

        changed = await client.patch(f"{SESSIONS}{session}/", json={"title": "Mine"})

    assert (changed.json()["title"], changed.json()["messageCount"]) == ("Mine", 2)
    assert log.searched == [turn.completion_id]
    # Nobody has asked how far it has come.
    assert log.looked == 0
