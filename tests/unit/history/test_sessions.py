"""Lists, titles and deletions."""

import base64

import pytest

from services.history.changing import Changing
from services.history.cursor import parse_cursor, to_cursor
from services.history.freshness import Freshness
from services.history.news import News
from services.history.recorder import Recorder
from services.history.searching import Searching
from services.history.sessions import Sessions
from shared.contracts.history import CreateSession, DeleteSession, ListSessions, UpdateSession
from shared.contracts.ids import SessionId
from shared.errors import InvalidRequest, SessionNotFound
from tests.fakes.history.conversation import NOON, OTHER, SESSION, USER, Turn
from tests.fakes.history.log import MemoryLog, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.told import Told
from tests.unit.history.test_recorder import START, record


class _Scene:
    """Sessions on an empty store; ``holding`` is a database known to be away."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.log = MemoryLog()
        self.holding = False
        self.consume_after = 0
        freshness = Freshness(
            self.store,
            self.log,
            Recorder(self.store),
            holding=lambda: self.holding,
            wait=0.2,
            pause=self._pause,
        )
        searching, news = Searching(self.store, self.store), News(Told())
        self.sessions = Sessions(
            self.store, self.store, searching, freshness, news, now=lambda: NOON
        )
        self.changing = Changing(self.store, self.store, freshness, news, now=lambda: NOON)

    async def _pause(self, seconds: float) -> None:
        if self.log.looked >= self.consume_after:
            self.log.floor = len(self.log.events)

    async def create(self, number: int = 1, title: str | None = None) -> SessionId:
        session_id = SessionId(f"00000000-0000-7000-8000-{number:012d}")
        await self.sessions.create(CreateSession(user_id=USER, session_id=session_id, title=title))
        return session_id


async def test_a_list_goes_over_pages_to_its_end() -> None:
    scene = _Scene()
    made = {await scene.create(number) for number in range(1, 6)}

    first = await scene.sessions.page(ListSessions(user_id=USER, limit=3))
    second = await scene.sessions.page(
        ListSessions(user_id=USER, limit=3, cursor=first.next_cursor)
    )

    assert [len(first.sessions), len(second.sessions)] == [3, 2]
    assert second.next_cursor is None
    assert {session.id for session in (*first.sessions, *second.sessions)} == made


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "!!!!", "é", base64.urlsafe_b64encode(b"1|a'$b").decode(), to_cursor(1, SESSION)[1:]],
)
async def test_a_malformed_cursor_is_an_invalid_request(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await _Scene().sessions.page(ListSessions(user_id=USER, cursor=cursor))


def test_a_cursor_says_what_it_was_made_of() -> None:
    assert parse_cursor(to_cursor(START, SESSION)) == (START, SESSION)


async def test_a_title_moves_updated_at_even_if_a_workers_clock_is_ahead() -> None:
    scene = _Scene()
    session_id = await scene.create()
    ahead = Turn(60)
    await record(scene.store, ahead.accepted(), ahead.completed())
    before = scene.store.sessions[session_id].to_session()

    reply = await scene.changing.update(
        UpdateSession(user_id=USER, session_id=session_id, title="New")
    )

    assert reply.session is not None
    assert reply.session.title == "New"
    assert reply.session.updated_at > before.updated_at


async def test_a_deleted_or_foreign_session_is_not_found() -> None:
    scene = _Scene()
    session_id = await scene.create()
    with pytest.raises(SessionNotFound):
        await scene.sessions.delete(DeleteSession(user_id=OTHER, session_id=session_id))
    await scene.sessions.delete(DeleteSession(user_id=USER, session_id=session_id))

    with pytest.raises(SessionNotFound):
        await scene.sessions.delete(DeleteSession(user_id=USER, session_id=session_id))
    with pytest.raises(SessionNotFound):
        await scene.changing.update(
            UpdateSession(user_id=USER, session_id=session_id, title="Back")
        )
    assert (await scene.sessions.page(ListSessions(user_id=USER))).sessions == []


async def test_a_list_waits_until_what_was_published_before_is_stored() -> None:
    scene = _Scene()
    scene.log.events = [raw(Turn().completed(), NOON)]
    scene.consume_after = 3

    await scene.sessions.page(ListSessions(user_id=USER))

    assert scene.log.looked == 4


async def test_a_change_has_the_turn_that_it_names_and_waits_for_no_other() -> None:
    scene = _Scene()
    session_id = await scene.create()
    named, another = Turn(session_id=session_id), Turn(2, session_id=session_id)
    scene.log.events = [
        raw(named.accepted(), NOON, 1),
        raw(named.completed(), NOON, 2),
        # In the hands of a consumer that was killed.
        raw(another.accepted(), NOON, 3),
        raw(another.completed(), NOON, 4),
    ]
    scene.consume_after = 1000

    change = UpdateSession(user_id=USER, session_id=session_id, title="Another one")
    last = change.model_copy(update={"after_completion": named.completion_id})
    reply = await scene.changing.update(last)

    assert reply.session is not None
    assert (reply.session.title, reply.session.message_count) == ("Another one", 2)
    await scene.changing.update(change)
    assert scene.log.looked == 0


async def test_a_list_of_a_quiet_history_looks_once() -> None:
    scene = _Scene()

    await scene.sessions.page(ListSessions(user_id=USER))

    assert scene.log.looked == 1


async def test_a_list_does_not_wait_for_a_consumer_that_waits_for_the_database() -> None:
    scene = _Scene()
    scene.log.events = [raw(Turn().completed(), NOON)]
    scene.holding = True

    await scene.sessions.page(ListSessions(user_id=USER))

    assert scene.log.looked == 0


async def test_a_list_while_the_broker_does_not_answer_is_what_is_stored() -> None:
    scene = _Scene()
    await scene.create()
    scene.log.available = False

    assert len((await scene.sessions.page(ListSessions(user_id=USER))).sessions) == 1
