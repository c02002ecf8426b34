"""What events leave in the store: the same, whatever their order and however often they come."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.history.event_format import Event
from services.history.recorder import Recorder
from services.history.records import Change, MessageRecord, SessionRecord, to_milliseconds
from shared.contracts.chat import CompletionStatus, FunctionCall, ToolCall
from shared.contracts.history import DEFAULT_TITLE
from shared.contracts.ids import UserId
from tests.fakes.history.conversation import NOON, OTHER, SESSION, USER, Turn, stateless
from tests.fakes.history.memory_messages import Stub
from tests.fakes.history.memory_store import MemoryStore

START = to_milliseconds(NOON)


def store_with_session(user_id: UserId = USER) -> MemoryStore:
    store = MemoryStore()
    store.sessions[SESSION] = SessionRecord(
        id=SESSION, user_id=user_id, created_at=START, updated_at=START
    )
    return store


async def record(store: MemoryStore, *events: Event) -> None:
    for event in events:
        await Recorder(store).record(event, NOON)


def _conversation() -> list[Event]:
    """Every kind of turn: answered, rejected, expired, failed, regenerated, and a stateless one."""
    unwanted = Turn(text="Unwanted from the beginning")
    first = Turn()
    second = first.next()
    refused = second.next("Refused")
    late = second.next("Too late")
    regenerated = Turn(6, parent_id=second.parent_id, depth=second.depth, text=second.text)
    again = regenerated.place.model_copy(
        update={"parent_id": second.user_message, "new_message_ids": []}
    )
    return [
        unwanted.accepted(),
        unwanted.rejected(),
        first.accepted(),
        first.completed(),
        second.accepted(),
        second.completed(),
        refused.accepted(),
        refused.rejected(),
        late.accepted(),
        late.expired(),
        regenerated.accepted(turn=None, place=again),
        regenerated.completed(place=again, status=CompletionStatus.FAILED, text="half"),
        stateless(7),
    ]


CONVERSATION = _conversation()


async def _in_order() -> dict[str, Any]:
    store = store_with_session()
    await record(store, *CONVERSATION)
    return store.everything()


@settings(max_examples=150, deadline=None)
@given(
    order=st.permutations(range(len(CONVERSATION))),
    again=st.lists(st.integers(0, len(CONVERSATION) - 1), max_size=8),
    at=st.integers(0, len(CONVERSATION)),
)
async def test_any_order_and_repetition_of_events_leaves_the_same_documents(
    order: list[int], again: list[int], at: int
) -> None:
    store = store_with_session()

    await record(store, *(CONVERSATION[n] for n in [*order[:at], *again, *order[at:], *again]))

    everything = store.everything()
    assert everything == await _in_order()
    assert everything["sessions"][SESSION].shown_title() == "What is the answer?"
    assert not {term for _, term, _ in everything["terms"]} & {"unwanted", "beginning", "refused"}


async def test_a_turn_is_a_question_an_answer_and_one_usage_record() -> None:
    store, turn = store_with_session(), Turn()

    await record(store, turn.accepted(), turn.completed())

    assert set(store.stored_messages) == {turn.user_message, turn.answer}
    (usage,) = store.usage.values()
    assert (usage.id, usage.user_id, usage.session_id) == (turn.completion_id, USER, SESSION)
    assert (usage.model_used, usage.prompt_tokens, usage.completion_tokens) == ("demo", 7, 3)
    assert (usage.total_tokens, usage.estimated) == (10, False)
    assert usage.created_at == to_milliseconds(turn.begin)
    assert (usage.day, usage.day_model) == ("2026-03-01", "2026-03-01|demo")
    session = store.sessions[SESSION]
    assert (session.message_count, session.turn) == (2, 1)
    assert session.updated_at == to_milliseconds(turn.completed().completed_at)
    assert session.to_session().title == turn.text


async def test_an_answer_keeps_how_often_it_was_taken_over_and_where_it_went_on() -> None:
    store, turn, plain = store_with_session(), Turn(), Turn(2)
    how = {"attempts": 2, "continued_at": [7]}

    await record(store, turn.accepted(), turn.completed().model_copy(update=how))
    await record(store, plain.accepted(), plain.completed())

    message = store.message(turn.answer)
    assert (message.attempts, message.continued_at) == (2, [7])
    untouched = store.message(plain.answer)
    assert (untouched.attempts, untouched.continued_at) == (None, None)


async def test_the_end_of_the_latest_turn_is_the_leaf_also_beyond_the_ninth() -> None:
    store = store_with_session()
    ninth, tenth = Turn(9), Turn(10)

    await record(store, tenth.accepted(), tenth.completed(), ninth.accepted(), ninth.completed())

    assert store.sessions[SESSION].leaf == f"0000000010|1|{tenth.answer}"


async def test_a_completion_without_a_session_leaves_usage_only() -> None:
    store = MemoryStore()

    await record(store, stateless())

    assert len(store.usage) == 1
    assert store.stored_messages == {}
    assert store.sessions == {}


async def test_a_rejected_turn_leaves_no_message_and_no_usage() -> None:
    store, turn = store_with_session(), Turn()

    await record(store, turn.rejected(), turn.accepted())

    assert store.stored_messages == {turn.user_message: Stub(SESSION, USER)}
    assert store.usage == {}
    assert store.sessions[SESSION].message_count == 0


@pytest.mark.parametrize("order", ["accepted first", "rejected first", "accepted again"])
async def test_a_rejected_first_turn_leaves_no_title_and_no_word(order: str) -> None:
    store, turn = store_with_session(), Turn(text="Secret words")
    events: dict[str, list[Event]] = {
        "accepted first": [turn.accepted(), turn.rejected()],
        "rejected first": [turn.rejected(), turn.accepted()],
        "accepted again": [turn.accepted(), turn.rejected(), turn.accepted()],
    }

    await record(store, *events[order])

    session = store.sessions[SESSION]
    assert (session.shown_title(), session.titled()) == (DEFAULT_TITLE, False)
    assert store.terms == {}


async def test_a_title_is_shown_while_its_turn_runs_and_stays_when_it_has_ended() -> None:
    store, turn = store_with_session(), Turn(text="Parrots")

    await record(store, turn.accepted())
    running = store.sessions[SESSION]
    await record(store, turn.completed())

    # Not for good yet: the next turn brings a title as well, should this one be rejected.
    assert (running.shown_title(), running.titled()) == ("Parrots", False)
    ended = store.sessions[SESSION]
    assert (ended.shown_title(), ended.titled()) == ("Parrots", True)


async def test_the_turn_after_a_rejected_one_gives_the_title() -> None:
    store, refused, turn = store_with_session(), Turn(text="Refused"), Turn(2, text="Welcome")
    accepted = turn.accepted()
    assert accepted.turn is not None
    titled = accepted.model_copy(
        update={"turn": accepted.turn.model_copy(update={"title": "Welcome"})}
    )

    await record(store, refused.accepted(), titled, turn.completed(), refused.rejected())

    assert store.sessions[SESSION].shown_title() == "Welcome"


async def test_what_is_recorded_while_a_purge_is_under_way_does_not_stay() -> None:
    class Purged(MemoryStore):
        """A purge claims the session as soon as a first message is stored."""

        async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
            await super().add_messages(messages)
            self.purging.add(SESSION)

    turn = Turn()
    for event in (turn.accepted(), turn.completed()):
        store = Purged()
        store.sessions = store_with_session().sessions
        await record(store, event)
        assert store.stored_messages == {}
        assert store.terms == {}


async def test_an_event_that_comes_again_clears_what_a_purge_left_of_it() -> None:
    store, turn = store_with_session(), Turn()
    await record(store, turn.accepted(), turn.completed())
    # The purge had gone past them when they were written, and their recorder died.
    del store.sessions[SESSION]

    await record(store, turn.completed())

    assert store.stored_messages == {}
    assert store.terms == {}


async def test_an_expired_turn_keeps_its_question_and_has_no_usage() -> None:
    store, turn = store_with_session(), Turn()

    await record(store, turn.accepted(), turn.expired())

    assert set(store.stored_messages) == {turn.user_message}
    assert store.usage == {}
    assert store.sessions[SESSION].message_count == 1
    assert turn.user_message in (store.sessions[SESSION].leaf or "")


@pytest.mark.parametrize("status", [CompletionStatus.FAILED, CompletionStatus.CANCELLED])
async def test_half_an_answer_is_kept_with_how_it_ended(status: CompletionStatus) -> None:
    store, turn = store_with_session(), Turn()

    await record(store, turn.accepted(), turn.completed(status=status, text="Hal"))

    (answer,) = await store.messages(USER, SESSION, [turn.answer])
    assert (answer.content, answer.status) == ("Hal", status)
    assert len(store.usage) == 1


async def test_tool_calls_without_text_are_an_answer_without_content() -> None:
    store, turn = store_with_session(), Turn()
    call = ToolCall(id="c1", function=FunctionCall(name="f", arguments="{}"))

    await record(store, turn.accepted(), turn.completed(text="", tool_calls=[call]))

    (answer,) = await store.messages(USER, SESSION, [turn.answer])
    assert answer.content is None
    assert answer.tool_calls == [call]


async def test_a_regeneration_that_brought_nothing_leaves_the_answer_active() -> None:
    store, turn = store_with_session(), Turn()
    again = Turn(2, depth=1)
    place = again.place.model_copy(update={"parent_id": turn.user_message, "new_message_ids": []})
    await record(store, turn.accepted(), turn.completed())

    failed = again.completed(status=CompletionStatus.FAILED, text="", place=place)
    await record(store, again.accepted(turn=None, place=place), failed)

    assert store.sessions[SESSION].leaf == f"0000000001|1|{turn.answer}"
    assert len(store.stored_messages) == 2


@pytest.mark.parametrize("owner", [None, OTHER])
async def test_events_of_a_foreign_or_missing_session_make_and_touch_nothing(
    owner: UserId | None,
) -> None:
    store = store_with_session(owner) if owner else MemoryStore()
    before = dict(store.sessions)
    turn = Turn()

    await record(store, turn.accepted(), turn.completed(), turn.next().rejected())

    assert store.sessions == before
    assert store.stored_messages == {}
    assert set(store.usage) == {turn.completion_id}


async def test_a_persons_title_stays_and_a_long_one_is_cut() -> None:
    store, turn = store_with_session(), Turn(text="x" * 400)
    assert store.sessions[SESSION].to_session().title == DEFAULT_TITLE
    await record(store, turn.accepted())
    assert store.sessions[SESSION].to_session().title == "x" * 255

    await store.change(USER, SESSION, 1, Change(START, "Mine"))
    await record(store, turn.accepted())

    assert store.sessions[SESSION].to_session().title == "Mine"


async def test_late_events_are_stored_hidden_and_never_undelete() -> None:
    store, turn = store_with_session(), Turn()
    await store.delete(USER, SESSION, START)

    await record(store, turn.accepted(), turn.completed())

    assert await store.get(USER, SESSION) is None
    assert len(store.stored_messages) == 2
