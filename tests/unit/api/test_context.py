"""What of a session the model is shown."""

import pytest

from services.api.sessions.context import budget, fit
from shared.contracts.chat import ContentPart, FunctionCall, Message, Role, ToolCall, Usage
from shared.contracts.history import StoredMessage
from shared.contracts.ids import MessageId
from tests.fakes.api.history import NOON

ASKED = Message(role="user", content="now?")


def stored(
    depth: int,
    role: Role,
    text: str | None,
    *,
    counted: int | None = None,
    omitted: int | None = None,
) -> StoredMessage:
    usage = None
    if counted is not None:
        usage = Usage(prompt_tokens=counted, completion_tokens=0, total_tokens=counted)
    return StoredMessage(
        id=MessageId(str(depth)),
        role=role,
        content=text,
        created_at=NOON,
        depth=depth,
        usage=usage,
        context_omitted=omitted,
    )


def talk(turns: int, *, length: int = 80, first: int = 1) -> list[StoredMessage]:
    """Questions and answers; each message is ``length`` characters, 4 more tokens around it."""
    return [
        stored(depth, "user" if (depth - first) % 2 == 0 else "assistant", f"{depth:<{length}}")
        for depth in range(first, first + 2 * turns)
    ]


def said(messages: list[Message]) -> list[str]:
    return [message.text().strip() for message in messages]


def test_what_fits_is_shown_whole_and_in_order() -> None:
    fitted = fit(talk(2), [ASKED], system="Be brief.", tokens=1000)
    assert said(fitted.messages) == ["Be brief.", "1", "2", "3", "4", "now?"]
    assert (fitted.omitted, fitted.droppable) == (0, 4)


def test_the_newest_that_fit_stay_and_begin_with_a_question() -> None:
    # Each is estimated at 24 tokens, the new one at 5: three fit, two begin with a question.
    fitted = fit(talk(5), [ASKED], system=None, tokens=5 + 3 * 24)
    assert said(fitted.messages) == ["9", "10", "now?"]
    assert fitted.omitted == 8


def test_what_is_asked_now_is_never_cut() -> None:
    long = Message(role="user", content="x" * 10_000)
    fitted = fit(talk(2), [long], system="s", tokens=100)
    assert fitted.messages == [Message(role="system", content="s"), long]
    assert (fitted.omitted, fitted.droppable) == (4, 0)


def test_another_answer_is_to_the_question_however_long_it_is() -> None:
    branch = [*talk(2), stored(5, "user", "x" * 10_000)]
    fitted = fit(branch, [], system="s", tokens=100)
    assert [len(message.text()) for message in fitted.messages] == [1, 10_000]
    assert (fitted.omitted, fitted.droppable) == (4, 0)


def test_what_was_not_read_back_to_its_beginning_begins_with_a_question_too() -> None:
    branch = [stored(8, "tool", "42"), *talk(1, first=9)]
    fitted = fit(branch, [ASKED], system=None, tokens=1000)
    assert said(fitted.messages) == ["9", "10", "now?"]
    assert fitted.omitted == 8


def test_system_messages_at_the_beginning_stay_when_older_ones_go() -> None:
    branch = [stored(1, "system", "rules"), *talk(4, first=2)]
    fitted = fit(branch, [ASKED], system=None, tokens=6 + 5 + 2 * 24)
    assert said(fitted.messages) == ["rules", "8", "9", "now?"]
    assert fitted.omitted == 6


def test_they_stay_also_where_the_branch_was_not_read_to_its_beginning() -> None:
    leading = [stored(1, "system", "rules"), *talk(1, first=2)]
    fitted = fit(talk(2, first=10), [ASKED], system="s", tokens=1000, leading=leading)
    assert said(fitted.messages) == ["s", "rules", "10", "11", "12", "13", "now?"]
    assert fitted.omitted == 8


def test_answers_without_a_word_are_not_shown() -> None:
    branch = [stored(1, "user", "a"), stored(2, "assistant", None), stored(3, "user", "b")]
    assert said(fit(branch, [ASKED], system=None, tokens=100).messages) == ["a", "b", "now?"]


def calls(depth: int, text: str | None, *ids: str) -> StoredMessage:
    made = [ToolCall(id=id_, function=FunctionCall(name="f", arguments="{}")) for id_ in ids]
    return stored(depth, "assistant", text).model_copy(update={"tool_calls": made})


def answers(depth: int, to: str) -> StoredMessage:
    return stored(depth, "tool", f"answer {to}").model_copy(update={"tool_call_id": to})


def shown_of(branch: list[StoredMessage]) -> list[tuple[str, str, int]]:
    messages = fit(branch, [ASKED], system=None, tokens=1000).messages
    return [(one.role, one.text(), len(one.tool_calls or ())) for one in messages[:-1]]


def test_calls_that_were_answered_are_shown_with_their_answers() -> None:
    branch = [stored(1, "user", "a"), calls(2, None, "x", "y"), answers(3, "y"), answers(4, "x")]
    branch.append(stored(5, "assistant", "b"))
    assert shown_of(branch) == [
        ("user", "a", 0),
        ("assistant", "", 2),
        ("tool", "answer y", 0),
        ("tool", "answer x", 0),
        ("assistant", "b", 0),
    ]


@pytest.mark.parametrize("answered", [[], ["x"], ["z"]])
def test_calls_that_nobody_answered_are_not_shown_but_what_was_said_beside_them_is(
    answered: list[str],
) -> None:
    branch = [stored(1, "user", "a"), calls(2, "let me see", "x", "y")]
    branch += [answers(3 + n, to) for n, to in enumerate(answered)]
    assert shown_of(branch) == [("user", "a", 0), ("assistant", "let me see", 0)]
    branch[1] = calls(2, None, "x", "y")
    assert shown_of(branch) == [("user", "a", 0)]


@pytest.mark.parametrize(("counted", "shown"), [(96, 4), (192, 2), (48, 4)])
def test_the_engines_own_count_says_what_the_text_takes(counted: int, shown: int) -> None:
    # Estimated at 96 tokens; a language of which the engine needs twice as many fits half as far.
    branch = talk(2)
    branch[-1] = branch[-1].model_copy(
        update={"usage": Usage(prompt_tokens=counted, completion_tokens=0, total_tokens=counted)}
    )
    fitted = fit(branch, [ASKED], system=None, tokens=10 + 96)
    assert len(fitted.messages) == shown + 1


def test_a_count_of_a_context_that_was_cut_is_of_what_was_left_of_it() -> None:
    branch = talk(3)
    usage = Usage(prompt_tokens=48, completion_tokens=0, total_tokens=48)
    branch[-1] = branch[-1].model_copy(update={"usage": usage, "context_omitted": 4})
    # 48 tokens for two messages is what they are estimated at: four fit into 96.
    assert fit(branch, [ASKED], system=None, tokens=5 + 4 * 24).omitted == 2


def test_where_nobody_knows_the_window_everything_is_shown() -> None:
    assert fit(talk(50), [ASKED], system=None, tokens=None).omitted == 0


def picture(depth: int, length: int = 3000) -> StoredMessage:
    parts = [
        ContentPart(type="text", text=str(depth)),
        ContentPart(type="image_url", image_url="data:image/png;base64,".ljust(length, "A")),
    ]
    return stored(depth, "user", None).model_copy(update={"content": parts})


def pictures(turns: int) -> list[StoredMessage]:
    return [
        each
        for depth in range(1, 2 * turns, 2)
        for each in (picture(depth), stored(depth + 1, "assistant", str(depth + 1)))
    ]


@pytest.mark.parametrize("tokens", [None, 1_000_000])
def test_images_that_fit_the_window_go_when_they_are_too_many_bytes(tokens: int | None) -> None:
    fitted = fit(pictures(5), [ASKED], system="s", tokens=tokens, size=7_000)
    assert said(fitted.messages) == ["s", "7", "8", "9", "10", "now?"]
    assert (fitted.omitted, fitted.droppable) == (6, 4)
    assert sum(len(message.to_bytes()) for message in fitted.messages) < 7_000


def test_bytes_are_cut_in_whole_turns() -> None:
    # There is room for the answer to the second picture, but not for that picture.
    fitted = fit(pictures(3), [ASKED], system=None, tokens=None, size=6_000)
    assert said(fitted.messages) == ["5", "6", "now?"]
    assert fitted.omitted == 4


def test_what_is_asked_now_counts_its_bytes_and_is_never_cut() -> None:
    now = Message(role="user", content=picture(9).content)
    fitted = fit(pictures(2), [now], system=None, tokens=None, size=6_500)
    assert said(fitted.messages) == ["3", "4", "9"]
    fitted = fit(pictures(2), [now], system=None, tokens=None, size=1_000)
    assert (said(fitted.messages), fitted.omitted) == (["9"], 4)


def test_characters_of_several_bytes_count_as_many() -> None:
    branch = [stored(1, "user", "我" * 1000), stored(2, "assistant", "好")]
    assert fit(branch, [ASKED], system=None, tokens=None, size=3_300).omitted == 0
    assert fit(branch, [ASKED], system=None, tokens=None, size=3_000).omitted == 2


@pytest.mark.parametrize(
    ("window", "limit", "tokens"),
    [(8192, 1000, 7192), (8192, None, 7168), (2048, None, 1536), (4096, 100_000, 2048)],
)
def test_room_for_the_answer_is_kept(window: int, limit: int | None, tokens: int) -> None:
    assert budget(window, limit) == tokens
