"""Where a turn goes: appended, or another answer to the question that is stored."""

from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.api.completions.placing import place_turn, title_from
from shared.contracts import ids
from shared.contracts.chat import Message, Role
from shared.contracts.history import MessageRef, SessionHead
from shared.contracts.ids import MessageId, SessionId

SESSION = SessionId("0196f000-0000-7000-8000-000000000000")
COMPLETION = ids.new_completion_id()


def message(role: Role, text: str) -> Message:
    return Message(role=role, content=text)


def talk(*texts: str, system: bool = False) -> list[Message]:
    roles: tuple[Role, Role] = ("user", "assistant")
    turns = [message(roles[number % 2], text) for number, text in enumerate(texts)]
    return [message("system", "Be brief."), *turns] if system else turns


def head_of(stored: list[Message], *, turn: int = 1) -> SessionHead:
    refs = [
        MessageRef(id=MessageId(f"m{n}"), role=m.role, depth=n, digest=m.digest())
        for n, m in enumerate(stored, start=1)
    ]
    last_user = next((ref for ref in reversed(refs) if ref.role == "user"), None)
    leaf = refs[-1] if refs else None
    return SessionHead(turn=turn, leaf=leaf, last_user=last_user, titled=bool(refs))


texts = st.text(min_size=1, max_size=8)


def conversations(least: int = 0) -> st.SearchStrategy[list[str]]:
    """Whole turns, question and answer."""
    return st.integers(least, 4).flatmap(
        lambda pairs: st.lists(texts, min_size=2 * pairs, max_size=2 * pairs)
    )


@settings(deadline=None)
@given(stored=conversations(), question=texts, system=st.booleans())
def test_a_whole_conversation_and_a_new_question_append_just_the_question(
    stored: list[str], question: str, system: bool
) -> None:
    known = talk(*stored, system=system and bool(stored))
    asked = talk(*stored, question, system=system and bool(stored))

    placed = place_turn(SESSION, head_of(known), asked, COMPLETION)

    (new,) = placed.turn.messages
    assert new.message == asked[-1]
    assert new.depth == len(known) + 1
    assert new.parent_id == (f"m{len(known)}" if known else None)
    assert placed.place.parent_id == new.id
    assert placed.place.depth == len(known) + 2
    assert placed.place.new_message_ids == [new.id]


@settings(deadline=None)
@given(stored=conversations(1), system=st.booleans())
def test_the_stored_question_again_is_a_regenerate(stored: list[str], system: bool) -> None:
    known = talk(*stored, system=system)
    again = known[:-1]

    placed = place_turn(SESSION, head_of(known), again, COMPLETION)

    assert placed.turn.messages == []
    assert placed.place.new_message_ids == []
    assert placed.place.parent_id == f"m{len(known) - 1}"
    assert placed.place.depth == len(known)


@settings(deadline=None)
@given(
    stored=conversations(2),
    question=texts,
    kept=st.integers(1, 3),
)
def test_a_shortened_context_that_shows_the_last_answer_appends(
    stored: list[str], question: str, kept: int
) -> None:
    known = talk(*stored)
    shown = known[-min(kept, len(known) - 1) :]
    asked = [*shown, message("user", question)]
    # As many messages as before the stored question, and the same words: the whole conversation
    # sent again looks just like this.
    assume(question != stored[-2] or len(asked) != len(known) - 1)

    placed = place_turn(SESSION, head_of(known), asked, COMPLETION)

    assert [new.message for new in placed.turn.messages] == [asked[-1]]
    assert placed.place.depth == len(known) + 2


@settings(deadline=None)
@given(stored=conversations(2))
def test_a_shortened_context_without_the_answer_and_the_same_question_is_a_regenerate(
    stored: list[str],
) -> None:
    known = talk(*stored)
    placed = place_turn(SESSION, head_of(known), [known[-2]], COMPLETION)
    assert placed.turn.messages == []
    assert placed.place.parent_id == f"m{len(known) - 1}"


@settings(deadline=None)
@given(stored=conversations(), new=st.lists(texts, min_size=1, max_size=3), turn=st.integers(0, 9))
def test_ids_are_made_from_the_completion_and_depths_follow_each_other(
    stored: list[str], new: list[str], turn: int
) -> None:
    known = talk(*stored)
    asked = [*known, *(message("user", text) for text in new)]

    placed = place_turn(SESSION, head_of(known, turn=turn), asked, COMPLETION)
    again = place_turn(SESSION, head_of(known, turn=turn), asked, COMPLETION)

    assert placed == again
    chain = [(new.id, new.parent_id, new.depth) for new in placed.turn.messages]
    for (before, _, depth), (_, parent, next_depth) in pairwise(chain):
        assert (parent, next_depth) == (before, depth + 1)
    assert len({link[0] for link in chain} | {placed.place.message_id}) == len(chain) + 1
    assert placed.turn.turn == placed.place.turn == turn + 1


def test_an_unanswered_question_again_stores_nothing_new() -> None:
    known = talk("one", "first", "two")
    placed = place_turn(SESSION, head_of(known), known, COMPLETION)
    assert placed.turn.messages == []
    assert placed.place.parent_id == "m3"


def test_the_answer_of_a_tool_is_new() -> None:
    known = talk("one", "call")
    asked = [*known, Message(role="tool", content="42", tool_call_id="c")]
    placed = place_turn(SESSION, head_of(known), asked, COMPLETION)
    (new,) = placed.turn.messages
    assert new.message.role == "tool"
    assert new.parent_id == "m2"


def test_only_the_first_user_message_gives_a_title() -> None:
    first = talk("What is the capital of France?", system=True)
    placed = place_turn(SESSION, SessionHead(), first, COMPLETION)
    assert placed.turn.title == "What is the capital of..."
    assert [new.depth for new in placed.turn.messages] == [1, 2]

    known = talk("one", "first")
    later = place_turn(SESSION, head_of(known), [*known, message("user", "two")], COMPLETION)
    assert later.turn.title is None


def test_a_title_is_five_words_and_at_most_255_characters() -> None:
    assert title_from("one two  three\nfour five") == "one two three four five"
    assert title_from("one two three four five six") == "one two three four five..."
    assert title_from(" \n ") is None
    long = title_from("x" * 300 + " a b c d e")
    assert long is not None
    assert len(long) == 255
    assert long.endswith("...")
