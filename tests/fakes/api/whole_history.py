"""The history service's own use cases on a store in memory, behind the gateway's port."""

from typing import Any

from services.history.handlers import Operation
from services.history.health import Health
from services.history.session_operations import session_operations
from shared.contracts import session_questions as asked
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    Session,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.questions import Q, Question, R
from shared.errors import error_from
from tests.fakes.api.history import FakeHistory
from tests.fakes.history.memory_store import MemoryStore
from tests.unit.history.scene import Scene

MAX_PAYLOAD = 2**20
"""Bytes of the broker's largest message, as NATS has it where nobody says otherwise."""


class WholeHistory(FakeHistory):
    """Everything goes through bytes, as between two processes; ``scene`` is what is stored."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__()
        self.scene = scene = Scene(store)
        operations = session_operations(
            scene.sessions,
            scene.changing,
            scene.copying,
            scene.reading,
            scene.trees,
            Health(scene.store, scene.log),
        )
        self._operations: dict[str, Operation[Any, Any]] = {
            operation.question.name: operation for operation in operations
        }

    def add(self, *operations: Operation[Any, Any]) -> None:
        """Let it answer more."""
        self._operations |= {operation.question.name: operation for operation in operations}

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        answer = await self._operations[question.name].answer(query.to_bytes(), MAX_PAYLOAD)
        reply = question.reply.from_bytes(answer)
        if reply.error is not None:
            raise error_from(reply.error.code, reply.error.message, reply.error.param)
        return reply

    async def list_sessions(self, query: ListSessions) -> SessionPage:
        return await self.ask(asked.LIST_SESSIONS, query)

    async def create_session(self, command: CreateSession) -> Session:
        return _there((await self.ask(asked.CREATE_SESSION, command)).session)

    async def get_session(self, query: GetSession) -> SessionDetail:
        return await self.ask(asked.GET_SESSION, query)

    async def update_session(self, command: UpdateSession) -> SessionReply:
        return await self.ask(asked.UPDATE_SESSION, command)

    async def delete_session(self, command: DeleteSession) -> None:
        await self.ask(asked.DELETE_SESSION, command)

    async def session_head(self, query: SessionHeadQuery) -> SessionHead:
        return await self.ask(asked.SESSION_HEAD, query)


def _there(session: Session | None) -> Session:
    assert session is not None
    return session
