"""What readers see of a session, and where the next turn goes."""

import pytest

from services.history.event_ports import RawEvent
from services.history.freshness import Freshness
from services.history.reading import Reading
from services.history.recorder import Recorder
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.events import NewMessage, NewTurn
from shared.contracts.history import GetSession, SessionDetail, SessionHead, SessionHeadQuery
from shared.contracts.ids import CompletionId
from tests.fakes.history.conversation import NOON, SESSION, USER, Turn
from tests.fakes.history.log import MemoryLog, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.unit.history.test_recorder import record, store_with_session


class _Scene:
    """Reading on a store with an empty session, and a log."""

    def __init__(self, *events: RawEvent) -> None:
        self.store = store_with_session()
        self.log = MemoryLog(list(events))
        freshness = Freshness(
            self.store,
            self.log,
            Recorder(self.store),
            holding=lambda: False,
            wait=1,
            pause=self._pause,
        )
        self.reading = Reading(self.store, self.store, freshness)

    async def _pause(self, seconds: float) -> None:
        return

    async def detail(
        self,
        *,
        after: CompletionId | None = None,
        before: int | None = None,
        limit: int = 200,
    ) -> SessionDetail:
        return await self.reading.detail(
            GetSession(
                user_id=USER,
                session_id=SESSION,
                after_completion=after,
                before_depth=before,
                limit=limit,
            )
        )

    async def head(self) -> SessionHead:
        return await self.reading.head(SessionHeadQuery(user_id=USER, session_id=SESSION))

    async def texts(self) -> list[object]:
        return [message.content for message in (await self.detail()).messages]


async def _long_conversation(store: MemoryStore, turns: int, *, text: str = "Why?") -> Turn:
    turn = Turn(text=text)
    for _ in range(turns - 1):
        await record(store, turn.accepted(), turn.completed())
        turn = turn.next(text)
    await record(store, turn.accepted(), turn.completed())
    return turn


async def test_an_empty_session_has_no_messages_and_its_head_is_turn_zero() -> None:
    scene = _Scene()

    assert (await scene.detail()).messages == []
    assert await scene.head() == SessionHead(turn=0)


async def test_messages_come_in_order_of_depth_with_how_they_ended() -> None:
    scene, turn = _Scene(), Turn()
    await record(scene.store, turn.accepted(), turn.completed())

    question, answer = (await scene.detail()).messages

    assert (question.role, question.content, question.depth) == ("user", turn.text, 1)
    assert (answer.role, answer.content, answer.parent_id) == ("assistant", "Answer 1", question.id)
    assert (answer.status, answer.finish_reason) == (CompletionStatus.COMPLETED, "stop")
    assert answer.usage == turn.completed().usage


async def test_pages_go_back_from_the_newest_message_to_the_first() -> None:
    scene = _Scene()
    await _long_conversation(scene.store, 5)

    newest = await scene.detail(limit=4)
    older = await scene.detail(limit=4, before=newest.next_before_depth)
    oldest = await scene.detail(limit=4, before=older.next_before_depth)

    depths = [[it.depth for it in page.messages] for page in (oldest, older, newest)]
    assert depths == [[1, 2], [3, 4, 5, 6], [7, 8, 9, 10]]
    assert oldest.next_before_depth is None


async def test_a_page_stays_below_900_kilobytes() -> None:
    scene = _Scene()
    await _long_conversation(scene.store, 8, text='"\n' * 100_000)

    pages = [await scene.detail()]
    while (before := pages[-1].next_before_depth) is not None:
        pages.append(await scene.detail(before=before))

    assert max(len(page.to_bytes()) for page in pages) < 900_000
    assert sum(len(page.messages) for page in pages) == 16


async def test_a_message_larger_than_a_page_is_a_page_of_its_own() -> None:
    scene = _Scene()
    last = await _long_conversation(scene.store, 2)
    huge = last.next("x" * 2_000_000)
    await record(scene.store, huge.accepted())

    page = await scene.detail()

    assert [message.id for message in page.messages] == [huge.user_message]
    assert page.next_before_depth == huge.depth


async def test_a_running_question_is_shown_and_counts_as_the_head() -> None:
    scene, turn = _Scene(), Turn()
    running = turn.next("Still running")
    await record(scene.store, turn.accepted(), turn.completed(), running.accepted())

    assert await scene.texts() == [turn.text, "Answer 1", "Still running"]
    head = await scene.head()
    assert (head.turn, head.leaf, head.last_user) == (2, running.ref(), running.ref())


async def test_a_rejected_question_is_not_shown_but_its_number_is_used() -> None:
    scene, turn = _Scene(), Turn()
    refused = turn.next("Refused")
    await record(scene.store, turn.accepted(), turn.completed())
    await record(scene.store, refused.accepted(), refused.rejected())

    assert await scene.texts() == [turn.text, "Answer 1"]
    head = await scene.head()
    assert head.turn == 2
    assert head.leaf is not None
    assert head.leaf.id == turn.answer
    assert head.last_user == turn.ref()
    assert head.titled


async def test_the_later_turn_is_the_active_branch_whichever_ended_later() -> None:
    scene, turn = _Scene(), Turn()
    edited = Turn(2, text="Another question")
    await record(scene.store, turn.accepted(), edited.accepted())
    await record(scene.store, edited.completed(), turn.completed())

    assert await scene.texts() == ["Another question", "Answer 2"]


async def test_a_read_after_an_end_shows_the_turn_that_no_consumer_has_stored() -> None:
    turn = Turn()
    scene = _Scene(raw(turn.accepted(), NOON), raw(turn.completed(), NOON, 2))

    detail = await scene.detail(after=turn.completion_id)

    assert [message.id for message in detail.messages] == [turn.user_message, turn.answer]
    assert detail.session is not None
    assert detail.session.message_count == 2
    assert len(scene.store.usage) == 1


async def test_a_read_after_a_completion_that_nobody_knows_answers_what_there_is() -> None:
    scene = _Scene()

    assert (await scene.detail(after=Turn().completion_id)).messages == []


@pytest.mark.parametrize("name", ["*", ">", "a b", "chatcmpl-1", ""])
async def test_a_name_that_is_no_completion_never_becomes_part_of_a_subject(name: str) -> None:
    scene = _Scene()

    await scene.detail(after=CompletionId(name))

    assert scene.log.searched == []


async def test_an_end_that_cannot_be_stored_does_not_hide_its_session() -> None:
    turn = Turn()
    poison = turn.completed(completed_at=NOON.replace(tzinfo=None))
    scene = _Scene(raw(turn.accepted(), NOON), raw(poison, NOON, 2))

    detail = await scene.detail(after=turn.completion_id)

    assert [message.id for message in detail.messages] == [turn.user_message]


async def test_a_message_that_names_itself_as_its_parent_does_not_hold_up_the_reader() -> None:
    scene, turn = _Scene(), Turn()
    ring = NewMessage(
        id=turn.user_message,
        parent_id=turn.user_message,
        depth=1,
        message=Message(role="assistant", content="I come after myself"),
    )
    new = NewTurn(session_id=SESSION, turn=1, messages=[ring])
    await record(scene.store, turn.accepted(turn=new))

    head = await scene.head()

    assert (head.turn, head.last_user) == (1, None)
    assert await scene.texts() == ["I come after myself"]


async def test_a_read_while_the_broker_is_away_answers_what_is_stored() -> None:
    scene, turn = _Scene(), Turn()
    scene.log.available = False
    await record(scene.store, turn.accepted(), turn.completed())

    assert len((await scene.detail(after=turn.next().completion_id)).messages) == 2
