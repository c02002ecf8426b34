"""Questions to a history service whose use cases are the real ones, on stores in memory."""

from typing import Any

from services.history.handlers import Operation
from services.history.preferences import KeptSettings
from services.history.preset_operations import preset_operations
from services.history.presets import Presets
from shared.clock import utc_now
from shared.contracts.history import CreateSession, SessionReply
from shared.contracts.questions import Q, Question, R
from shared.contracts.session_questions import CREATE_SESSION
from shared.errors import HistoryUnavailable, error_from
from tests.fakes.api.history import FakeHistory
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore

_MAX_PAYLOAD = 2**20


class FakeAsking:
    """``Asking``; sessions are made in ``history``, and are as away as it is."""

    def __init__(self, history: FakeHistory) -> None:
        self.presets = MemoryPresetStore()
        self.settings = MemorySettingsStore()
        self.asked: list[str] = []
        self.created: list[CreateSession] = []
        self._history = history
        operations = preset_operations(
            Presets(self.presets, now=utc_now), KeptSettings(self.settings)
        )
        self._operations: dict[str, Operation[Any, Any]] = {
            each.question.name: each
            for each in (*operations, Operation(CREATE_SESSION, self._create_session))
        }

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        if self._history.away:
            raise HistoryUnavailable("history is away")
        self.asked.append(question.name)
        data = await self._operations[question.name].answer(query.to_bytes(), _MAX_PAYLOAD)
        reply = question.reply.from_bytes(data)
        if reply.error is not None:
            raise error_from(reply.error.code, reply.error.message)
        return reply

    async def _create_session(self, command: CreateSession) -> SessionReply:
        self.created.append(command)
        return SessionReply(session=await self._history.create_session(command))
