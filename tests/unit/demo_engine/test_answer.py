"""The words of answers, and of their continuations."""

from collections.abc import Iterable
from itertools import chain, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.demo_engine import script
from deploy.local.demo_engine.answer import Piece, rest_of_answer, variant_of, whole_answer
from deploy.local.demo_engine.chat_request import Message, SamplingOptions
from deploy.local.demo_engine.models import find_model
from deploy.local.demo_engine.phrases import VARIANTS
from deploy.local.demo_engine.question import Question
from deploy.local.demo_engine.tokenizer import count_tokens, tokens_of

PROMPTS = (
    "Hello, what is a bridge for?",
    "Please count to 30",
    "Write 60 words about rivers",
    "Give me a list of 3 things",
    "Some code, please 🙂",
    "",
)
GREEDY = SamplingOptions(temperature=0.0)


def question(text: str, model: str = "demo", tokens: int | None = None) -> Question:
    found = find_model(model)
    assert found is not None
    return Question(
        found, [Message(role="user", content=text)], tokens=tokens, think=found.thinks, nonce="1"
    )


def text_of(pieces: Iterable[Piece], kind: str = "content") -> str:
    return "".join(piece.text for piece in pieces if piece.kind == kind)


def prefill(content: str, thinking: str = "") -> Message:
    return Message(role="assistant", content=content, thinking=thinking)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_answer_broken_off_anywhere_is_continued_word_for_word(prompt: str) -> None:
    asked = question(prompt)
    for variant in range(VARIANTS):
        whole = text_of(whole_answer(asked, variant))
        for split in range(len(whole) + 1):
            rest = text_of(rest_of_answer(asked, variant, prefill(whole[:split])))
            assert whole[:split] + rest == whole


@pytest.mark.parametrize("prompt", PROMPTS)
def test_without_a_seed_the_words_so_far_tell_how_the_answer_goes_on(prompt: str) -> None:
    asked = question(prompt)
    answers = [text_of(whole_answer(asked, variant)) for variant in range(VARIANTS)]
    for whole in answers:
        for split in range(1, len(whole), 7):
            rest = text_of(rest_of_answer(asked, 0, prefill(whole[:split])))
            assert whole[:split] + rest in answers


def test_from_its_first_different_word_an_answer_is_continued_by_its_own_variant() -> None:
    asked = question("Hello")
    for variant in range(VARIANTS):
        whole = text_of(whole_answer(asked, variant))
        other = (variant + 1) % VARIANTS
        rest = text_of(rest_of_answer(asked, other, prefill(whole[:40])))
        assert whole[:40] + rest == whole


def test_broken_off_and_continued_twice_it_is_still_the_same_answer() -> None:
    asked = question("Hello", tokens=300)
    whole = text_of(whole_answer(asked, 3))
    first, second = whole[:100], whole[:777]

    assert first + text_of(rest_of_answer(asked, 0, prefill(first))) == whole
    assert second + text_of(rest_of_answer(asked, 5, prefill(second))) == whole


def test_a_complete_answer_has_no_rest() -> None:
    asked = question("Hello")
    whole = text_of(whole_answer(asked, 2))

    assert list(rest_of_answer(asked, 2, prefill(whole))) == []


def test_foreign_words_are_followed_by_a_new_sentence() -> None:
    rest = text_of(rest_of_answer(question("Hello"), 0, prefill("Quite another answer.")))

    assert rest.startswith(" From here Parley's demo engine goes on in its own words.")


def test_a_continued_answer_does_not_think_again() -> None:
    asked = question("Hello", "demo-thinking")
    pieces = list(whole_answer(asked, 1))
    thinking, content = text_of(pieces, "thinking"), text_of(pieces)

    rest = list(rest_of_answer(asked, 1, prefill(content[:20], thinking)))

    assert thinking
    assert {piece.kind for piece in rest} == {"content"}
    assert content[:20] + text_of(rest) == content


def test_thinking_broken_off_is_continued_and_followed_by_the_answer() -> None:
    asked = question("Hello", "demo-thinking")
    pieces = list(whole_answer(asked, 4))
    thinking, content = text_of(pieces, "thinking"), text_of(pieces)

    rest = list(rest_of_answer(asked, 0, prefill("", thinking[:25])))

    assert thinking[:25] + text_of(rest, "thinking") == thinking
    assert text_of(rest) == content


def test_the_diverging_model_goes_on_with_other_words() -> None:
    asked = question("Hello", "demo-diverge")
    whole = text_of(whole_answer(asked, 1))

    assert whole[:60] + text_of(rest_of_answer(asked, 1, prefill(whole[:60]))) != whole


@pytest.mark.parametrize("wanted", [1, 2, 17, 40, 500])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_answer_of_a_wished_length_has_exactly_that_many_tokens(
    prompt: str, wanted: int
) -> None:
    for variant in range(VARIANTS):
        pieces = list(whole_answer(question(prompt, tokens=wanted), variant))
        assert len(pieces) == wanted == count_tokens(text_of(pieces))


def test_a_long_answer_does_not_repeat_itself() -> None:
    whole = text_of(whole_answer(question("Hello", tokens=5000), 0))
    sentences = whole.split(". ")

    assert len(set(sentences)) > 0.97 * len(sentences)


def test_an_ordinary_answer_has_40_to_100_tokens_and_says_that_it_is_a_demo() -> None:
    for variant in range(VARIANTS):
        whole = text_of(whole_answer(question("What is the tide?"), variant))
        assert 40 <= count_tokens(whole) <= 100
        assert "demo engine" in whole
        assert "language model" in whole
        assert "What is the tide?" in whole


@settings(max_examples=60)
@given(st.text(max_size=200), st.integers(0, VARIANTS - 1))
def test_segments_may_be_cut_into_tokens_one_by_one(prompt: str, variant: int) -> None:
    segments = list(script.content(question(prompt), variant))

    one_by_one = list(chain.from_iterable(tokens_of(segment) for segment in segments))

    assert one_by_one == list(tokens_of("".join(segments)))


def test_counting_counts_and_so_many_words_are_so_many() -> None:
    counted = text_of(whole_answer(question("count from 8 to 11"), 0))
    written = text_of(whole_answer(question("write 60 words"), 0))

    assert counted.startswith("8, 9, 10, 11.")
    assert len(written.partition("words:")[2].split()) == 60


def test_temperature_0_and_a_seed_choose_the_same_variant_each_time() -> None:
    asked = question("Hello")

    assert len({variant_of(asked, GREEDY) for _ in range(20)}) == 1
    assert len({variant_of(asked, SamplingOptions(seed=7)) for _ in range(20)}) == 1
    assert len({variant_of(asked, SamplingOptions(seed=seed)) for seed in range(40)}) > 1
    assert len({variant_of(asked, SamplingOptions()) for _ in range(99)}) > 1


def test_the_answer_depends_on_the_question_but_not_on_its_directive() -> None:
    plain, hasty = question("Hello"), question("Hello [demo tps=0 fault=cut@3]")

    assert plain.key == hasty.key != question("Hullo").key
    assert text_of(whole_answer(plain, 0)) == text_of(whole_answer(hasty, 0))


def test_openings_tell_the_variants_apart_from_their_first_words() -> None:
    openings = [text_of(whole_answer(question("Hello"), variant)) for variant in range(VARIANTS)]

    assert len({"".join(takewhile(lambda c: c != ".", text))[:12] for text in openings}) == VARIANTS
