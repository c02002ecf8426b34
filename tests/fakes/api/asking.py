"""``Asking`` in memory: real use cases of presets and settings, and answers that a test gives."""

from collections.abc import Callable
from typing import Any, cast

from services.history.handlers import Operation
from services.history.news import News
from services.history.preferences import KeptSettings
from services.history.preset_operations import preset_operations
from services.history.presets import Presets
from shared.clock import utc_now
from shared.contracts.history import Reply
from shared.contracts.questions import Q, Question, R
from shared.contracts.wire import WireModel
from shared.errors import HistoryUnavailable, error_from
from tests.fakes.api.history import FakeHistory
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.told import Told

_MAX_PAYLOAD = 2**20


class FakeAsking:
    """As away as ``history`` is."""

    def __init__(self, history: FakeHistory) -> None:
        self.presets = MemoryPresetStore()
        self.settings = MemorySettingsStore()
        self.asked: list[WireModel] = []
        self.names: list[str] = []
        self._history = history
        self._answers: dict[str, Callable[[Any], Reply]] = {}
        self.told = Told()
        kept_settings = KeptSettings(self.settings, News(self.told))
        kept = preset_operations(Presets(self.presets, now=utc_now), kept_settings)
        self._operations: dict[str, Operation[Any, Any]] = {
            each.question.name: each for each in kept
        }

    def answer(self, question: Question[Q, R], give: Callable[[Q], R]) -> None:
        """From now on."""
        self._answers[question.name] = give

    def forget(self) -> None:
        """History goes away."""
        self._answers.clear()

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        if self._history.away:
            raise HistoryUnavailable("history is away")
        self.asked.append(query)
        self.names.append(question.name)
        if question.name in self._answers:
            return cast("R", self._answers[question.name](query))
        if question.name not in self._operations:
            raise HistoryUnavailable("history is away")
        data = await self._operations[question.name].answer(query.to_bytes(), _MAX_PAYLOAD)
        reply = question.reply.from_bytes(data)
        if reply.error is not None:
            raise error_from(reply.error.code, reply.error.message, reply.error.param)
        return reply
