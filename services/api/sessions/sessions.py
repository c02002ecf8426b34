"""Sessions: read and change them, minding the turn that may be running."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from services.api.completions.turn_lease import TurnLeases
from services.api.ports.sessions import History
from shared.contracts import session_questions as asked
from shared.contracts.history import (
    CreateSession,
    GetSession,
    ListSessions,
    ReadTree,
    Session,
    SessionDetail,
    SessionPage,
    SessionReply,
    StoredMessage,
    UpdateSession,
)
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import (
    BrokerUnavailable,
    MessageNotFound,
    PayloadTooLarge,
    SessionNotFound,
)

_MOST_MESSAGES: Final = 1000
_PAGE: Final = 200
_MOST_CHARACTERS: Final = 32 * 2**20
"""Of text and images: a session full of pictures would not fit into memory."""
_MOST_EXPORTED: Final = 64 * 2**20


class Sessions:
    """The use case behind the session routes, in whatever spelling they speak."""

    def __init__(self, history: History, leases: TurnLeases) -> None:
        self._history = history
        self._leases = leases

    async def page(self, query: ListSessions) -> SessionPage:
        """The user's sessions, the one that changed last first."""
        return await self._history.list_sessions(query)

    async def create(self, command: CreateSession) -> Session:
        """A new session."""
        return await self._history.create_session(command)

    async def read(
        self,
        user_id: UserId,
        session_id: SessionId,
        *,
        limit: int | None,
        before_depth: int | None,
    ) -> tuple[Session, SessionDetail]:
        """A session and the messages of its active branch, oldest first.

        Without ``limit`` all of them, gathered page by page: one reply of the broker is bounded.
        The oldest of a huge session are left for another call.
        """
        after = await self._last_completion(user_id, session_id)
        gathered: list[StoredMessage] = []
        size = 0
        leaf: MessageId | None = None
        query = GetSession(user_id=user_id, session_id=session_id, after_completion=after)
        while True:
            page_size = limit or min(_PAGE, _MOST_MESSAGES - len(gathered))
            place = {"leaf": leaf, "before_depth": before_depth, "limit": page_size}
            detail = await self._history.get_session(query.model_copy(update=place))
            if detail.session is None:
                raise SessionNotFound("This session does not exist.", param="session_id")
            gathered = [*detail.messages, *gathered]
            # Another turn may make another branch the active one before the next page.
            leaf = leaf or detail.session.active_leaf
            before_depth = detail.next_before_depth
            size += sum(map(_size, detail.messages))
            full = len(gathered) >= _MOST_MESSAGES or size >= _MOST_CHARACTERS
            if limit is not None or before_depth is None or full:
                page = SessionDetail(messages=gathered, next_before_depth=before_depth)
                return detail.session.model_copy(update={"active_leaf": leaf}), page

    async def page_of(self, query: GetSession) -> SessionDetail:
        """A page of one branch; what has been answered is in it."""
        after = await self._last_completion(query.user_id, query.session_id)
        return await self._history.get_session(query.model_copy(update={"after_completion": after}))

    async def update(self, command: UpdateSession) -> Session:
        """Another title, other settings; of what is so already nobody hears anything new.

        What has been answered is in it, as in what is read.
        """
        after = await self._last_completion(command.user_id, command.session_id)
        command = command.model_copy(update={"after_completion": after})
        return whole(await self._history.update_session(command))

    async def message(
        self, user_id: UserId, session_id: SessionId, message_id: MessageId
    ) -> StoredMessage:
        """One message, with its siblings.

        Raises:
            MessageNotFound: the session has no such message.
        """
        query = GetSession(user_id=user_id, session_id=session_id, leaf=message_id, limit=1)
        try:
            found = (await self.page_of(query)).messages
        except MessageNotFound as error:
            raise MessageNotFound(error.message, param="message_id") from error
        return found[-1]

    async def tree(
        self, user_id: UserId, session_id: SessionId
    ) -> AsyncGenerator[tuple[Session, Sequence[StoredMessage]]]:
        """All of a session, for an export, page by page; the session is that of the first page.

        Raises:
            PayloadTooLarge: it is too much for one answer.
        """
        after = await self._last_completion(user_id, session_id)
        query = ReadTree(user_id=user_id, session_id=session_id, after_completion=after)
        session: Session | None = None
        size = 0
        while True:
            page = await self._history.ask(asked.READ_TREE, query)
            if page.session is None:
                raise SessionNotFound("This session does not exist.", param="session_id")
            # Of the first page: a turn that comes later may not be among the messages.
            session = session or page.session
            size += sum(map(_size, page.messages))
            yield session, page.messages
            if page.next_cursor is None:
                return
            if size > _MOST_EXPORTED:
                message = f"The session holds more than {_MOST_EXPORTED} characters."
                raise PayloadTooLarge(message)
            query = query.model_copy(update={"cursor": page.next_cursor})

    async def _last_completion(self, user_id: UserId, session_id: SessionId) -> CompletionId | None:
        # A read that follows an answer must show it, though history stores it a moment later.
        try:
            held = await self._leases.look(session_id)
        except BrokerUnavailable:
            return None
        if held is None or held.state.user_id != user_id:
            return None
        return held.state.last


def whole(reply: SessionReply) -> Session:
    """The session of a reply.

    Raises:
        SessionNotFound: there is none in it.
    """
    if reply.session is None:
        raise SessionNotFound("This session does not exist.", param="session_id")
    return reply.session


def _size(message: StoredMessage) -> int:
    if not isinstance(message.content, list):
        return len(message.content or "")
    return sum(len(part.text or "") + len(part.image_url or "") for part in message.content)
