"""A copy that takes longer than its client waits is waited for by who asks again."""

from typing import Any

import httpx
import pytest

from shared.contracts import session_questions as asked
from shared.contracts.ids import SessionId, UserId
from shared.contracts.questions import Q, Question, R
from shared.errors import HistoryUnavailable
from tests.fakes.api.ports import FakeClock
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of
from tests.fakes.history.conversation import Turn

SESSIONS = "/api/chat/sessions/"
FILE: dict[str, Any] = {
    "format": "parley-session",
    "title": "Brought in",
    "messages": [{"id": "a", "role": "user", "content": "Hi", "createdAt": "2025-01-01T00:00:00Z"}],
}
COPIES = {asked.FORK_SESSION.name, asked.IMPORT_SESSION.name}
HELD = 4.25
"""Seconds that history lets wait who asks for a copy."""
KEY = {"Idempotency-Key": "k"}


class MovedClock(FakeClock):
    """Ahead of the loop's by what a test says has gone by."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class SlowCopies(WholeHistory):
    """Makes a copy, but so slowly that the first who ask do not hear of it."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self.unheard = 0
        self.copies = 0
        self._clock = clock

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        if question.name not in COPIES:
            return await super().ask(question, query)
        self.copies += 1
        reply = await super().ask(question, query)
        if self.unheard:
            self.unheard -= 1
            self._clock.ahead += HELD
            raise HistoryUnavailable("The session is still being copied.")
        return reply


class Scene:
    """Gateways before one history that is slow with copies."""

    def __init__(self) -> None:
        clock = MovedClock()
        self.history = SlowCopies(clock)
        self.clock = clock

    def gateway(self) -> FakeWorld:
        world = FakeWorld()
        world.history = self.history
        world.clock = self.clock
        return world

    async def session(self, http: httpx.AsyncClient) -> str:
        session = str((await http.post(SESSIONS, json={"model": "demo"})).json()["id"])
        turn = Turn(session_id=SessionId(session), user_id=UserId("local"))
        await self.history.scene.say(turn)
        return session


async def all_sessions(http: httpx.AsyncClient) -> set[str]:
    listed = (await http.get(SESSIONS)).json()["sessions"]
    return {session["id"] for session in listed}


async def test_who_asks_for_a_long_import_again_gets_the_session_that_was_begun() -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as http:
        scene.history.unheard = 8
        refused = await http.post(f"{SESSIONS}import/", json=FILE)
        made = await http.post(f"{SESSIONS}import/", json=FILE)
        assert (refused.status_code, made.status_code) == (503, 201)
        assert "idempotency-replayed" not in made.headers
        assert await all_sessions(http) == {made.json()["id"]}
    # Six times for the first, until it was told; three for the second.
    assert scene.history.copies == 6 + 3


@pytest.mark.parametrize("headers", [{}, KEY])
async def test_who_asks_for_a_long_fork_again_gets_the_session_that_was_begun(
    headers: dict[str, str],
) -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as http:
        session = await scene.session(http)
        scene.history.unheard = 6
        refused = await http.post(f"{SESSIONS}{session}/fork/", headers=headers)
        made = await http.post(f"{SESSIONS}{session}/fork/", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            503,
            "history_unavailable",
        )
        assert made.status_code == 201
        assert await all_sessions(http) == {session, made.json()["id"]}


async def test_with_a_key_it_is_the_same_fork_at_any_gateway() -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as here, client_of(scene.gateway()) as there:
        session = await scene.session(here)
        scene.history.unheard = 6
        assert (await here.post(f"{SESSIONS}{session}/fork/", headers=KEY)).status_code == 503
        made = await there.post(f"{SESSIONS}{session}/fork/", headers=KEY)
        again = await here.post(f"{SESSIONS}{session}/fork/", headers=KEY)
        other = await here.post(f"{SESSIONS}{session}/fork/", headers={"Idempotency-Key": "l"})
        assert made.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_a_fork_that_was_answered_may_be_followed_by_another_one() -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as http:
        session = await scene.session(http)
        scene.history.unheard = 6
        answers = [await http.post(f"{SESSIONS}{session}/fork/") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 201, 201]
        assert len(await all_sessions(http)) == 3


async def test_a_fork_that_was_given_up_long_ago_is_made_anew() -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as http:
        session = await scene.session(http)
        scene.history.unheard = 6
        await http.post(f"{SESSIONS}{session}/fork/")
        scene.clock.ahead += 600
        await http.post(f"{SESSIONS}{session}/fork/")
        assert len(await all_sessions(http)) == 3


async def test_a_database_that_is_away_is_not_waited_for() -> None:
    scene = Scene()
    async with client_of(scene.gateway()) as http:
        scene.history.scene.store.available = False
        answer = await http.post(f"{SESSIONS}import/", json=FILE)
    assert answer.status_code == 503
    assert scene.history.copies == 1
