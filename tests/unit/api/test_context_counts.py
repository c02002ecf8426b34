"""What the engine has counted decides how much of a session fits, and not what it has not."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.sessions.context import Fitted, budget, fit
from shared.contracts.chat import Message, Usage
from shared.contracts.history import StoredMessage
from tests.unit.api.test_context import ASKED, stored

AROUND = 4


@dataclass
class Talk:
    """A session with an engine that counts honestly, in its own measure of characters."""

    window: int
    characters: float = 4.0
    """Of one token."""
    preamble: int = 0
    """Tokens that the template puts before everything."""
    system: str | None = None
    branch: list[StoredMessage] = field(default_factory=list)

    def counted(self, messages: list[Message]) -> int:
        each = [math.ceil(len(it.text()) / self.characters) + AROUND for it in messages]
        return self.preamble + sum(each)

    def everything(self, question: str) -> int:
        """Tokens of a prompt of which nothing is left out."""
        first = [Message(role="system", content=self.system)] if self.system else []
        said = [Message(role=it.role, content=it.content) for it in self.branch]
        return self.counted([*first, *said, Message(role="user", content=question)])

    def turn(self, question: str, answer: str) -> Fitted:
        """What the model is shown; then its answer is stored, with the engine's count."""
        new = Message(role="user", content=question)
        tokens = budget(self.window, None)
        fitted = fit(self.branch, [new], system=self.system, tokens=tokens)
        prompt = self.counted(fitted.messages)
        took = math.ceil(len(answer) / self.characters) + AROUND
        usage = Usage(prompt_tokens=prompt, completion_tokens=took, total_tokens=prompt + took)
        depth = len(self.branch) + 1
        said = stored(depth + 1, "assistant", answer, omitted=fitted.omitted or None)
        self.branch.append(stored(depth, "user", question))
        self.branch.append(said.model_copy(update={"usage": usage}))
        return fitted


@pytest.mark.parametrize(("window", "length"), [(4096, 4000), (8192, 7200), (4096, 3200)])
def test_a_long_system_prompt_takes_its_own_tokens_and_not_those_of_the_talk(
    window: int, length: int
) -> None:
    talk = Talk(window, system="x" * length)
    questions = ["My name is Ada.", "What is my name?", "And now?"]
    shown = [len(talk.turn(question, "Hello Ada.").messages) for question in questions]
    assert shown == [2, 4, 6]


def test_a_template_that_says_something_of_its_own_makes_a_short_talk_no_long_one() -> None:
    talk = Talk(4096, preamble=30)
    talk.turn("hi", "hello")
    assert talk.turn("x" * 3600, "yes").omitted == 0


@pytest.mark.parametrize("counted", [10_000, 1])
def test_a_count_that_is_not_of_this_text_says_nothing_of_it(counted: int) -> None:
    branch = [stored(1, "user", "x" * 8000), stored(2, "assistant", "y" * 80, counted=counted)]
    without = fit([branch[0], stored(2, "assistant", "y" * 80)], [ASKED], system=None, tokens=2100)
    assert fit(branch, [ASKED], system=None, tokens=2100).omitted == without.omitted == 0
    without = fit([branch[0], stored(2, "assistant", "y" * 80)], [ASKED], system=None, tokens=1900)
    assert fit(branch, [ASKED], system=None, tokens=1900).omitted == without.omitted == 2


def test_a_system_prompt_that_has_become_another_one_is_counted_right_a_turn_later() -> None:
    talk = Talk(4096, system="x" * 4000)
    for _ in range(8):
        talk.turn("y" * 400, "z" * 400)
    talk.system = "Be brief."
    talk.turn("y" * 400, "z" * 400)
    assert talk.turn("And now?", "Yes.").omitted == 0


@settings(max_examples=200, deadline=None)
@given(
    window=st.sampled_from([2048, 4096, 8192]),
    characters=st.floats(1.2, 12),
    preamble=st.integers(0, 40),
    share=st.floats(0, 0.5),
    turns=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=2, max_size=40),
)
def test_whoever_counts_what_fits_is_not_left_out_and_what_is_shown_fits(
    window: int, characters: float, preamble: int, share: float, turns: list[tuple[int, int]]
) -> None:
    talk = Talk(window, characters, preamble, "s" * int(share * window * characters) or None)
    room = budget(window, None)
    for number, (asked, answered) in enumerate(turns):
        whole = talk.everything("q" * asked)
        fitted = talk.turn("q" * asked, "a" * answered)
        if not number:
            continue  # Nothing has been counted yet.
        if whole < 0.8 * room - 100:
            assert fitted.omitted == 0
        if len(fitted.messages) > 2:
            assert talk.counted(fitted.messages) <= 1.1 * room + 100


@settings(max_examples=50, deadline=None)
@given(
    wrong=st.floats(0.3, 3.5),
    turns=st.integers(1, 10),
    characters=st.floats(1.5, 8),
)
def test_a_count_that_was_wrong_once_is_forgotten_with_the_next(
    wrong: float, turns: int, characters: float
) -> None:
    talk = Talk(8192, characters, system="s" * 400)
    for _ in range(turns):
        talk.turn("q" * 100, "a" * 100)
    last = talk.branch[-1]
    assert last.usage is not None
    off = {"total_tokens": round(last.usage.total_tokens * wrong)}
    usage = last.usage.model_copy(update=off)
    talk.branch[-1] = last.model_copy(update={"usage": usage})
    talk.turn("q" * 100, "a" * 100)
    assert talk.turn("q" * 100, "a" * 100).omitted == 0


@pytest.mark.parametrize(
    ("window", "limit", "tokens"),
    [(4096, 3000, 1096), (4096, 4095, 1), (4096, 2048, 2048), (4096, 4096, 2048)],
)
def test_a_limit_of_the_answer_is_kept_free_in_full_unless_the_window_cannot_hold_it(
    window: int, limit: int, tokens: int
) -> None:
    assert budget(window, limit) == tokens
