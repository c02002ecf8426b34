"""What counts as a word."""

import pytest

from services.history.words import MOST_TERMS, Asked, asked_words, said_words, words_of
from shared.contracts.chat import ContentPart, Role


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" -- _ ... 🦜", []),
        ("Hello, hello WORLD!", ["hello", "world"]),
        ("don't e-mail snake_case", ["don", "t", "e", "mail", "snake", "case"]),
        ("Straße STRASSE", ["strasse"]),
        ("\uff26\uff55\uff4c\uff4c \ufb01ne", ["full", "fine"]),
        ("naïve nai\u0308ve", ["naïve"]),
        ("GPT-4 1,000", ["gpt", "4", "1", "000"]),
        ("日本語 テスト", ["日本", "本語", "語", "テス", "スト", "ト"]),
        ("GPTの答え。", ["gpt", "の答", "答え", "え"]),
        ("猫", ["猫"]),
        ("กิน", ["กิ", "ิน", "น"]),
        ("한국어 공부", ["한국어", "공부"]),
        ("$set a.b|c", ["set", "a", "b", "c"]),
    ],
)
def test_words_are_runs_of_letters_and_digits_whatever_their_case(
    text: str, words: list[str]
) -> None:
    assert words_of(text) == words


def test_a_long_word_is_known_by_its_beginning_in_text_and_search() -> None:
    word = "x" * 100

    assert words_of(word) == ["x" * 64]
    assert asked_words(word + "y") == [Asked("x" * 64, begun=True)]


def test_a_message_is_found_by_its_first_words_only_and_a_search_has_eight() -> None:
    many = " ".join(f"w{number}" for number in range(10_000))

    assert words_of(many) == [f"w{number}" for number in range(MOST_TERMS)]
    assert asked_words(many) == [Asked(f"w{number}") for number in range(8)]


@pytest.mark.parametrize(
    ("search", "asked"),
    [
        ("", []),
        ("hello wor", [Asked("hello"), Asked("wor", begun=True)]),
        ("one two one", [Asked("one"), Asked("two", begun=True)]),
        ("天気予報", [Asked("天気"), Asked("気予"), Asked("予報", begun=True)]),
        # Alone it is the first of a pair or the last character of all.
        ("猫 cat", [Asked("猫", begun=True), Asked("cat", begun=True)]),
        ("猫猫", [Asked("猫猫", begun=True)]),
    ],
)
def test_the_last_word_of_a_search_may_be_typed_in_part(search: str, asked: list[Asked]) -> None:
    assert asked_words(search) == asked


@pytest.mark.parametrize(
    ("role", "found"),
    [("user", True), ("assistant", True), ("system", True), ("tool", False), ("developer", False)],
)
def test_what_people_models_and_system_prompts_say_is_found(role: Role, found: bool) -> None:
    assert said_words(role, "Hello") == (["hello"] if found else [])
    assert said_words(role, None) == []


def test_text_parts_are_found_and_words_do_not_grow_together_between_them() -> None:
    parts = [
        ContentPart(type="text", text="one"),
        ContentPart(type="image_url", image_url="data:image/png;base64,AAAA"),
        ContentPart(type="text", text="two"),
    ]

    assert said_words("user", parts) == ["one", "two"]
