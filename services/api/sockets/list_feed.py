"""What one socket of the list is told: news as they come, and sessions that begin to answer."""

from collections.abc import Awaitable, Callable

import structlog

from services.api.background import Background
from services.api.schemas.sockets import ServerMessage
from services.api.sockets.list_news import ListNews
from shared.contracts.history import Session
from shared.contracts.ids import SessionId
from shared.contracts.live import HISTORY, LiveEvent
from shared.errors import ChatError, SessionNotFound

log = structlog.stdlib.get_logger(__name__)

Read = Callable[[SessionId], Awaitable[Session | None]]


class ListFeed:
    """A turn that begins is announced without its session: who shows lists reads it."""

    def __init__(
        self, read: Read, background: Background, tell: Callable[[ServerMessage], None]
    ) -> None:
        self._read = read
        self._background = background
        self._tell = tell
        self._news = ListNews()

    def heard(self, event: LiveEvent) -> None:
        """Tell what is news."""
        if event.type == "turn_started":
            self._news.started(event)
            self._background.spawn(self._begun(event), "list-turn")
        elif event.type == "session_deleted" and event.origin != HISTORY:
            self._background.spawn(self._deleted_again(event), "list-deletion")
        else:
            self._say(self._news.of(event))

    async def _begun(self, event: LiveEvent) -> None:
        try:
            session = await self._read(event.session_id)
        except ChatError as error:
            log.debug("not_told", code=error.code, session_id=event.session_id)
            return
        if session is not None:
            self._say(self._news.begun(event, session))

    async def _deleted_again(self, event: LiveEvent) -> None:
        # Whoever has asked for it once more may not know that somebody has brought it back.
        before = self._news.told_of(event.session_id)
        try:
            await self._read(event.session_id)
        except SessionNotFound:
            if self._news.told_of(event.session_id) is before:
                self._say(self._news.of(event))
        except ChatError as error:
            log.debug("not_told", code=error.code, session_id=event.session_id)

    def _say(self, message: ServerMessage | None) -> None:
        if message is not None:
            self._tell(message)
