"""Sessions: read and change them, minding the turn that may be running."""

from typing import Final

from services.api.background import Background
from services.api.cancelling import Cancelling
from services.api.session_ports import History
from services.api.turn_lease import TurnLeases
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    Session,
    SessionDetail,
    SessionPage,
    StoredMessage,
    UpdateSession,
)
from shared.contracts.ids import CompletionId, SessionId, UserId, new_session_id
from shared.errors import BrokerUnavailable, SessionNotFound

_MOST_MESSAGES: Final = 10_000
_MOST_CHARACTERS: Final = 32 * 2**20
"""Of text and images: a session full of pictures would not fit into memory."""


class Sessions:
    """The use case behind the session routes, in whatever spelling they speak."""

    def __init__(
        self,
        history: History,
        leases: TurnLeases,
        cancelling: Cancelling,
        background: Background,
    ) -> None:
        self._history = history
        self._leases = leases
        self._cancelling = cancelling
        self._background = background

    async def page(self, user_id: UserId, limit: int, cursor: str | None) -> SessionPage:
        """The user's sessions, the one that changed last first."""
        return await self._history.list_sessions(
            ListSessions(user_id=user_id, limit=limit, cursor=cursor)
        )

    async def create(self, user_id: UserId, title: str | None, model: str | None) -> Session:
        """A new session."""
        return await self._history.create_session(
            CreateSession(user_id=user_id, session_id=new_session_id(), title=title, model=model)
        )

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
        while True:
            detail = await self._history.get_session(
                GetSession(
                    user_id=user_id,
                    session_id=session_id,
                    after_completion=after,
                    before_depth=before_depth,
                    **({"limit": limit} if limit is not None else {}),
                )
            )
            if detail.session is None:
                raise SessionNotFound("This session does not exist.", param="id")
            gathered = [*detail.messages, *gathered]
            before_depth = detail.next_before_depth
            size += sum(map(_size, detail.messages))
            full = len(gathered) >= _MOST_MESSAGES or size >= _MOST_CHARACTERS
            if limit is not None or before_depth is None or full:
                page = SessionDetail(messages=gathered, next_before_depth=before_depth)
                return detail.session, page

    async def rename(self, user_id: UserId, session_id: SessionId, title: str) -> Session:
        """Another title."""
        return await self._history.update_session(
            UpdateSession(user_id=user_id, session_id=session_id, title=title)
        )

    async def delete(self, user_id: UserId, session_id: SessionId) -> None:
        """Remove it from sight, and stop the turn that is running in it."""
        await self._history.delete_session(DeleteSession(user_id=user_id, session_id=session_id))
        try:
            held = await self._leases.look(session_id)
        except BrokerUnavailable:
            return
        if held is not None and held.state.user_id == user_id and held.state.running is not None:
            stop = self._cancelling.cancel(held.state.running, None)
            self._background.spawn(stop, "cancel-deleted")

    async def _last_completion(self, user_id: UserId, session_id: SessionId) -> CompletionId | None:
        # A read that follows an answer must show it, though history stores it a moment later.
        try:
            held = await self._leases.look(session_id)
        except BrokerUnavailable:
            return None
        if held is None or held.state.user_id != user_id:
            return None
        return held.state.last


def _size(message: StoredMessage) -> int:
    if not isinstance(message.content, list):
        return len(message.content or "")
    return sum(len(part.text or "") + len(part.image_url or "") for part in message.content)
