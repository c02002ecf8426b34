"""Where an answer ends."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo_engine.answer import Piece
from deploy.local.demo_engine.generation import Sampling
from deploy.local.demo_engine.stops import StopFilter

LETTERS = st.text(alphabet="ab ", max_size=30)


def shown(pieces: list[str], stops: list[str]) -> str:
    stopping = StopFilter(stops)
    text = ""
    for piece in pieces:
        more, found = stopping.feed(piece)
        text += more
        if found:
            return text
    return text + stopping.flush()


def content(*texts: str) -> list[Piece]:
    return [Piece("content", text) for text in texts]


@given(st.lists(LETTERS), st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=3))
def test_the_text_ends_where_the_first_stop_string_begins_however_it_is_cut_into_pieces(
    pieces: list[str], stops: list[str]
) -> None:
    seen = ""
    for letter in "".join(pieces):
        seen += letter
        if ended := [stop for stop in stops if seen.endswith(stop)]:
            seen = seen.removesuffix(max(ended, key=len))
            break

    assert shown(list("".join(pieces)), stops) == seen


def test_a_stop_string_over_the_seam_of_tokens_is_found_and_not_shown() -> None:
    assert shown(["one", " END", " two"], ["ND t"]) == "one E"


def test_text_that_only_begins_like_a_stop_string_is_held_back_and_then_shown() -> None:
    stopping = StopFilter(["###"])

    assert stopping.feed("a##") == ("a", False)
    assert stopping.feed("b") == ("##b", False)


def test_held_back_text_is_shown_when_the_answer_ends() -> None:
    assert shown(["a##"], ["###"]) == "a##"


def test_tokens_of_a_stop_string_count_as_produced() -> None:
    sampling = Sampling(None, ["END"])

    out = list(sampling.pieces(content("a", "E", "ND", "b")))

    assert [piece.text for piece in out] == ["a"]
    assert (sampling.produced, sampling.reason) == (3, "stop")


def test_an_answer_is_cut_at_its_budget_with_reason_length() -> None:
    sampling = Sampling(2, [])

    out = list(sampling.pieces(content("a", "b", "c")))

    assert [piece.text for piece in out] == ["a", "b"]
    assert (sampling.produced, sampling.reason) == (2, "length")


def test_text_held_back_at_the_budget_is_still_shown() -> None:
    sampling = Sampling(2, ["bcd"])

    out = list(sampling.pieces(content("a", "b", "c")))

    assert "".join(piece.text for piece in out) == "ab"


def test_a_budget_of_zero_shows_nothing() -> None:
    sampling = Sampling(0, [])

    assert list(sampling.pieces(content("a"))) == []
    assert sampling.reason == "length"
