"""History in memory: behind the port in unit tests, behind NATS in integration tests."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contracts import history as contract
from shared.contracts import session_questions as asked
from shared.contracts.chat import Failure
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    Reply,
    Session,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    SessionSettings,
    StoredMessage,
    UpdateSession,
)
from shared.contracts.history_health import HistoryHealth
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.questions import Q, Question, R
from shared.contracts.wire import WireModel
from shared.errors import (
    ChatError,
    HistoryUnavailable,
    MessageNotFound,
    SessionNotFound,
    VersionConflict,
)
from shared.messaging.subscriptions import ProvenSubscription

NOON = datetime(2025, 1, 27, 10, 0, 0, tzinfo=UTC)


class FakeHistory:
    """Sessions with the messages and heads that a test gives them."""

    def __init__(self) -> None:
        self.sessions: dict[SessionId, tuple[UserId, Session]] = {}
        self.messages: dict[SessionId, list[StoredMessage]] = {}
        self.heads: dict[SessionId, SessionHead] = {}
        self.away = False
        self.waited_for: list[CompletionId | None] = []
        self.placed_after: list[CompletionId | None] = []
        """What the heads that were asked for had to hold."""

    async def list_sessions(self, query: ListSessions) -> SessionPage:
        self._must_be_there()
        mine = [s for user, s in self.sessions.values() if user == query.user_id]
        start = int(query.cursor or 0)
        end = start + query.limit
        return SessionPage(
            sessions=mine[start:end], next_cursor=str(end) if end < len(mine) else None
        )

    async def create_session(self, command: CreateSession) -> Session:
        self._must_be_there()
        session = Session(
            id=command.session_id,
            title=command.title or contract.DEFAULT_TITLE,
            created_at=NOON,
            updated_at=NOON,
            message_count=0,
            preset_id=command.preset_id,
            **command.model_dump(include=set(SessionSettings.model_fields)),
        )
        self.sessions[session.id] = (command.user_id, session)
        return session

    async def get_session(self, query: GetSession) -> SessionDetail:
        self.waited_for.append(query.after_completion)
        session = self._find(query.user_id, query.session_id)
        branch = self._branch(session.id, query.leaf)
        if query.after_depth is not None:
            newer = [m for m in branch if m.depth > query.after_depth]
            page = newer[: query.limit]
            after = page[-1].depth if len(newer) > len(page) else None
            return SessionDetail(session=session, messages=page, next_after_depth=after)
        before = query.before_depth or 10**9
        shown = [m for m in branch if m.depth < before]
        page = shown[-query.limit :]
        more = page[0].depth if len(shown) > len(page) else None
        return SessionDetail(session=session, messages=page, next_before_depth=more)

    def _branch(self, session_id: SessionId, leaf: MessageId | None) -> list[StoredMessage]:
        messages = self.messages.get(session_id, [])
        if leaf is None:
            return messages
        by_id = {message.id: message for message in messages}
        at = by_id.get(leaf)
        if at is None:
            raise MessageNotFound("This message does not exist.", param="leaf")
        chain: list[StoredMessage] = []
        while at is not None:
            chain.append(at)
            at = by_id.get(at.parent_id) if at.parent_id is not None else None
        return chain[::-1]

    async def update_session(self, command: UpdateSession) -> SessionReply:
        session = self._find(command.user_id, command.session_id)
        if command.version not in (None, session.version):
            raise VersionConflict("It has changed.")
        changes: dict[str, object] = dict.fromkeys(command.cleared)
        if command.settings is not None:
            changes |= command.settings.model_dump(exclude_none=True)
        if command.title is not None:
            changes["title"] = command.title
        if session.model_copy(update=changes) == session:
            return SessionReply(session=session, unchanged=True)
        renamed = session.model_copy(update={**changes, "version": session.version + 1})
        self.sessions[session.id] = (command.user_id, renamed)
        return SessionReply(session=renamed)

    async def delete_session(self, command: DeleteSession) -> None:
        session = self._find(command.user_id, command.session_id)
        if command.version not in (None, session.version):
            raise VersionConflict("It has changed.")
        del self.sessions[session.id]

    async def session_head(self, query: SessionHeadQuery) -> SessionHead:
        self.placed_after.append(query.after_completion)
        session = self._find(query.user_id, query.session_id)
        return self.heads.get(session.id, SessionHead())

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        message = f"this fake knows nothing of {question.name}"
        raise HistoryUnavailable(message)

    async def health(self) -> HistoryHealth:
        self._must_be_there()
        return HistoryHealth(database_ok=True, database_latency_ms=0.5, backlog=0)

    def _must_be_there(self) -> None:
        if self.away:
            raise HistoryUnavailable("history is away")

    def _find(self, user_id: UserId, session_id: SessionId) -> Session:
        self._must_be_there()
        owner, session = self.sessions.get(session_id, (None, None))
        if session is None or owner != user_id:
            raise SessionNotFound("This session does not exist.", param="session_id")
        return session


@asynccontextmanager
async def history_service(client: Client, history: FakeHistory) -> AsyncGenerator[None]:
    """Answers ``chat.history.*`` from ``history``."""

    async def created(data: bytes) -> SessionReply:
        return SessionReply(session=await history.create_session(CreateSession.from_bytes(data)))

    async def updated(data: bytes) -> SessionReply:
        return await history.update_session(UpdateSession.from_bytes(data))

    async def deleted(data: bytes) -> Reply:
        await history.delete_session(DeleteSession.from_bytes(data))
        return Reply()

    operations: dict[str, Callable[[bytes], Awaitable[WireModel]]] = {
        asked.LIST_SESSIONS.name: lambda data: history.list_sessions(ListSessions.from_bytes(data)),
        asked.GET_SESSION.name: lambda data: history.get_session(GetSession.from_bytes(data)),
        asked.SESSION_HEAD.name: lambda data: history.session_head(
            SessionHeadQuery.from_bytes(data)
        ),
        asked.HEALTH.name: lambda _data: history.health(),
        asked.CREATE_SESSION.name: created,
        asked.UPDATE_SESSION.name: updated,
        asked.DELETE_SESSION.name: deleted,
    }

    async def answer(message: Msg) -> None:
        try:
            reply = await operations[message.subject.rsplit(".", 1)[1]](message.data)
        except ChatError as error:
            reply = Reply(error=Failure(code=error.code, message=error.message, param=error.param))
        await client.publish(message.reply, reply.to_bytes())

    subscription = ProvenSubscription(
        client, "chat.history.*", answer, probe_subject="chat.history.probe"
    )
    await subscription.open()
    try:
        yield
    finally:
        await subscription.close()
