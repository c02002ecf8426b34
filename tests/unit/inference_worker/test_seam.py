"""What an engine says again or goes on with, joined to what was sent: exact, or refused."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference_worker.ports import Call, Finish, Part, Text, Thinking
from services.inference_worker.seam import (
    Continuation,
    Diverged,
    Replay,
    Seam,
    Way,
    continued,
    way_on,
)
from services.inference_worker.transcript import Said, Transcript
from shared.contracts.chat import FunctionCall, ToolCall
from tests.fakes.inference_worker.requests import request


def said(text: str = "", thinking: str = "", *calls: tuple[str, str], events: int = 9) -> Said:
    made = (ToolCall(id="c", function=FunctionCall(name=n, arguments=a)) for n, a in calls)
    return Said(text, thinking, tuple(made), tokens=5, events=events)


def through(seam: Seam, *batches: Sequence[Part]) -> list[Part]:
    out = [part for batch in batches for part in seam.take(batch)]
    held, _ = seam.end(Finish("stop"))
    return [*out, *held]


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


@pytest.mark.parametrize(
    ("way", "changes", "so_far"),
    [
        (Way.AGAIN, {}, Said()),
        (Way.CONTINUE, {}, said("Hel")),
        (Way.CONTINUE, {}, said("Hel", "hm")),
        (Way.CONTINUE, {"sampling": {"temperature": 0.7}}, said("Hel")),
        (Way.REPLAY, {"sampling": {"temperature": 0}}, said("Hel")),
        (Way.REPLAY, {"sampling": {"seed": 1}, "response_format": {"type": "json_object"}},
         said("{")),
        (Way.REPLAY, {"sampling": {"seed": 1}}, said("", "hm")),
        (Way.NONE, {}, said("", "hm")),
        (Way.NONE, {}, said(" \n")),
        (Way.NONE, {}, said("Hel", "", ("f", "{}"))),
        (Way.NONE, {"response_format": {"type": "json_object"}}, said("{")),
        (Way.NONE, {"response_format": {"type": "json_schema", "json_schema": {}}}, said("{")),
    ],
)  # fmt: skip
def test_the_way_on_depends_on_what_is_fixed_and_what_was_sent(
    way: Way, changes: dict[str, Any], so_far: Said
) -> None:
    assert way_on(request(**changes), so_far) is way


def test_a_continued_request_ends_with_the_text_so_far_and_asks_for_the_tokens_that_are_left() -> (
    None
):
    run = request("Hi", sampling={"max_tokens": 8, "stop": ["x"]})

    more = continued(run, said("Hello \n", "hm"))

    assert more is not None
    assert more.messages[0] == run.messages[0]
    last = more.messages[-1]
    assert (last.role, last.content, last.thinking) == ("assistant", "Hello", "hm")
    assert (more.sampling.max_tokens, more.sampling.stop) == (3, ["x"])


def test_without_tokens_left_there_is_nothing_to_ask_for() -> None:
    assert continued(request("Hi", sampling={"max_tokens": 5}), said("Hello")) is None


parts = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=6).map(Text), st.text(min_size=1, max_size=6).map(Thinking)
    ),
    min_size=1,
    max_size=12,
)


def in_order(some: Sequence[Part]) -> list[Part]:
    # Engines think first, then speak.
    return sorted(some, key=lambda part: not isinstance(part, Thinking))


@given(parts, st.data())
def test_a_replay_of_the_same_answer_gives_exactly_what_was_not_sent(
    some: list[Part], data: st.DataObject
) -> None:
    whole = in_order(some)
    cut = data.draw(st.integers(0, len(whole)))
    sent = Transcript()
    for part in whole[:cut]:
        sent.take(part)
    again = Transcript()

    new = through(Replay(sent.said(tokens=cut, events=cut)), *[[part] for part in whole])
    for part in (*whole[:cut], *new):
        again.take(part)

    everything = Transcript()
    for part in whole:
        everything.take(part)
    assert again.said(tokens=0, events=0) == everything.said(tokens=0, events=0)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_replay_of_another_text_never_passes(sent: str, other: str) -> None:
    replay = Replay(said(sent))
    if other.startswith(sent):
        assert text_of(through(replay, [Text(other)])) == other[len(sent) :]
    else:
        with pytest.raises(Diverged):
            through(replay, [Text(other)])


@pytest.mark.parametrize(
    "again",
    [
        [Call("g", "{}")],
        [Call("f", '{"a":2}')],
        [Text("new"), Call("f", "{}")],
        [],
        [Call("f", "{}"), Call("f", "{}")],
    ],
)
def test_a_replay_with_another_call_never_passes(again: list[Part]) -> None:
    replay = Replay(said("", "", ("f", "{}"), ("g", "{}")))
    with pytest.raises(Diverged):
        through(replay, again)


def test_a_replay_lets_a_new_call_through_after_the_ones_that_were_sent() -> None:
    replay = Replay(said("Look:", "", ("f", "{}")))
    new = through(replay, [Text("Look"), Text(":")], [Call("f", "{}")], [Call("g", "[]")])
    assert new == [Call("g", "[]")]


def test_a_replay_that_thinks_on_where_it_had_spoken_never_passes() -> None:
    replay = Replay(said("Hello", "hm"))
    with pytest.raises(Diverged):
        through(replay, [Thinking("hmmm")], [Text("Hello")])


def test_the_counts_of_a_replay_are_the_engines_own() -> None:
    replay = Replay(said("Hel"))
    replay.take([Text("Hello")])
    assert replay.end(Finish("stop", 7, 2)) == ((), Finish("stop", 7, 2))


@pytest.mark.parametrize(
    ("sent", "next_words", "new"),
    [
        ("Hello", [" world"], " world"),
        ("Hello\n\n", ["\n\n", "World"], "World"),
        ("Hello\n\n", ["\n", "\nWorld"], "World"),
        ("Hello ", [" world"], "world"),
        ("Hello\n", [], ""),
    ],
)
def test_white_space_that_was_sent_is_not_sent_twice(
    sent: str, next_words: list[str], new: str
) -> None:
    seam = Continuation(said(sent), [])
    assert text_of(through(seam, *[[Text(word)] for word in next_words])) == new


@pytest.mark.parametrize("next_word", [" World", "World", "\tWorld"])
def test_other_white_space_than_was_sent_never_passes(next_word: str) -> None:
    with pytest.raises(Diverged):
        through(Continuation(said("Hello\n\n"), []), [Text(next_word)])


def test_a_continuation_that_begins_to_think_never_passes() -> None:
    with pytest.raises(Diverged):
        through(Continuation(said("Hello"), []), [Thinking("Let me see")])


def test_the_counts_of_a_continuation_are_of_both_pieces_and_marked() -> None:
    seam = Continuation(said("Hello"), [])
    _, finish = seam.end(Finish("length", 12, 4))
    assert finish == Finish("length", 7, 9, estimated=True)


letters = st.text("abc", max_size=8)


@given(letters, st.lists(letters, max_size=6), st.lists(st.text("abc", min_size=1, max_size=4)))
def test_a_stop_string_over_the_seam_ends_the_answer_where_one_run_would_have(
    before: str, after: list[str], stops: list[str]
) -> None:
    # The first run was not stopped: so no stop string stands wholly in what it sent.
    if any(stop in before for stop in stops):
        return
    seam = Continuation(said(before), stops)
    out = ""
    for word in after:
        out += text_of(seam.take([Text(word)])) if word else ""
        if seam.stopped:
            break
    else:
        out += text_of(seam.end(Finish("stop"))[0])

    whole = before + "".join(after)
    ends = [
        begin + len(stop)
        for stop in stops
        for begin in range(max(0, len(before) - len(stop) + 1), len(before))
        if whole.startswith(stop, begin)
    ]
    assert seam.stopped is bool(ends)
    assert (before + out) == (before if ends else whole)
