"""Text to tokens and back."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo_engine.tokenizer import count_tokens, tokens_of


@given(st.text())
def test_the_tokens_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text


@given(st.text())
def test_counting_and_cutting_agree(text: str) -> None:
    assert count_tokens(text) == len(list(tokens_of(text)))


@given(st.text(), st.data())
def test_a_text_cut_between_two_tokens_has_the_same_tokens_on_both_sides(
    text: str, data: st.DataObject
) -> None:
    tokens = list(tokens_of(text))
    cut = data.draw(st.integers(0, len(tokens)))

    assert list(tokens_of("".join(tokens[:cut]))) == tokens[:cut]
    assert list(tokens_of("".join(tokens[cut:]))) == tokens[cut:]


def test_a_long_text_counts_as_its_tokens() -> None:
    text = "Some words, some numbers 12345 and more.\n" * 5000

    assert count_tokens(text) == len(list(tokens_of(text)))


def test_a_word_takes_the_space_before_it_and_leaves_the_comma() -> None:
    assert list(tokens_of("Count to 1234, please\n")) == [
        "Count", " to", " 123", "4", ",", " please", "\n",
    ]  # fmt: skip
