"""Directives and faults, read from text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo_engine.directive import (
    InvalidWish,
    Wishes,
    strip_directives,
    wishes_in_options,
    wishes_in_text,
)
from deploy.local.demo_engine.faults import Fault, FaultBook, InvalidFault, parse_fault


def test_a_directive_says_length_speed_and_fault() -> None:
    text = "Hello [demo tokens=200 tps=0 first_token_ms=500 fault=cut@20x1]"

    assert wishes_in_text(text) == Wishes(
        tokens=200, tokens_per_second=0.0, first_token_ms=500.0, fault=Fault("cut", 20, 1)
    )


def test_a_directive_is_no_part_of_the_question() -> None:
    assert strip_directives("Hello [demo tps=0] there [demo tokens=3]") == "Hello there"


@pytest.mark.parametrize("text", ["[demo of it]", "[demonstration tps=0]", "demo tps=0", "[demo"])
def test_other_words_in_brackets_are_left_alone(text: str) -> None:
    assert wishes_in_text(text) == Wishes()
    assert strip_directives(text) == text


@given(st.text())
def test_any_text_without_a_directive_is_left_as_it_is(text: str) -> None:
    assert strip_directives(text) == text


@pytest.mark.parametrize("wish", ["toknes=2", "tokens=many", "tps=-1", "tps=nan", "fault=boom"])
def test_a_wish_that_is_not_understood_is_an_error_that_names_it(wish: str) -> None:
    with pytest.raises(InvalidWish, match=wish):
        wishes_in_text(f"[demo {wish}]")


def test_the_stronger_wish_wins_and_the_rest_stays() -> None:
    system = wishes_in_text("[demo tps=5 tokens=10]")
    user = wishes_in_text("[demo tps=7]")
    options = wishes_in_options({"demo_tokens": 30, "temperature": 0})

    wishes = options.over(user.over(system))

    assert (wishes.tokens, wishes.tokens_per_second) == (30, 7.0)


def test_a_length_beyond_the_limit_is_the_limit() -> None:
    assert wishes_in_options({"demo_tokens": 10**9}).tokens == 200_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stall@0", Fault("stall", 0)),
        ("error@7", Fault("error", 7)),
        ("half@3x2", Fault("half", 3, 2)),
        ("busy", Fault("busy")),
        ("500x3", Fault("500", 0, 3)),
        ("slowclose", Fault("slowclose")),
    ],
)
def test_faults_are_read_as_they_are_written(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["cut", "busy@3", "cut@x1", "@3", ""])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(InvalidFault):
        parse_fault(text)


def test_a_fault_with_a_number_of_times_meets_each_prompt_that_often() -> None:
    book, fault = FaultBook(), Fault("cut", 1, times=1)

    met = [book.meet(fault, prompt, "demo") for prompt in ("a", "a", "b", "b")]

    assert met == [fault, None, fault, None]


def test_an_armed_fault_meets_the_next_requests_of_its_model_only() -> None:
    book, fault = FaultBook(), Fault("busy")
    book.arm(fault, times=1, model="demo")

    assert book.meet(None, "p", "demo-json") is None
    assert book.meet(None, "p", "demo") == fault
    assert book.meet(None, "p", "demo") is None
