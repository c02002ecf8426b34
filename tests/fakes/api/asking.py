"""``Asking`` in memory: a test says what each question is answered with."""

from collections.abc import Callable
from typing import Any, cast

from shared.contracts.history import Reply
from shared.contracts.questions import Q, Question, R
from shared.contracts.wire import WireModel
from shared.errors import HistoryUnavailable


class FakeAsking:
    """Questions without an answer are those of a history service that is away."""

    def __init__(self) -> None:
        self.asked: list[WireModel] = []
        self._answers: dict[str, Callable[[Any], Reply]] = {}

    def answer(self, question: Question[Q, R], give: Callable[[Q], R]) -> None:
        """From now on."""
        self._answers[question.name] = give

    def forget(self) -> None:
        """History goes away."""
        self._answers.clear()

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        self.asked.append(query)
        if question.name not in self._answers:
            raise HistoryUnavailable("history is away")
        return cast("R", self._answers[question.name](query))
