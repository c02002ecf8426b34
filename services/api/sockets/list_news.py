"""What the list of sessions is told of live events: the newest word on each session counts."""

from collections import OrderedDict
from datetime import datetime
from typing import Final, NamedTuple

from services.api.completions.answers import to_session_body
from services.api.schemas.sockets import ServerMessage, SessionChanged, SessionDeleted
from shared.contracts.history import Session
from shared.contracts.ids import SessionId
from shared.contracts.live import LiveEvent

_REMEMBERED: Final = 256


class _Stand(NamedTuple):
    """How new a word is; what was deleted comes back by ``session_created`` alone."""

    version: int
    updated_at: datetime


class ListNews:
    """Of one socket. Gateways read sessions before they tell of them, and tell in any order."""

    def __init__(self) -> None:
        self._stands: OrderedDict[SessionId, _Stand | None] = OrderedDict()

    def of(self, event: LiveEvent) -> ServerMessage | None:
        """What to say of an event; ``None`` where something newer was said, or it is no news."""
        if event.type == "session_deleted":
            self._remember(event.session_id, None)
            return SessionDeleted(session_id=event.session_id)
        if event.session is None:
            return None
        if event.type == "session_created":
            return self._told("session_created", event.session)
        if event.type != "session_updated" or self._is_old(event.session):
            return None
        return self._told("session_updated", event.session)

    def _told(self, kind: str, session: Session) -> ServerMessage:
        self._remember(session.id, _stand(session))
        body = to_session_body(session)
        if kind == "session_created":
            return SessionChanged(type="session_created", session=body)
        return SessionChanged(type="session_updated", session=body)

    def _is_old(self, session: Session) -> bool:
        if session.id not in self._stands:
            return False
        former = self._stands[session.id]
        return former is None or _stand(session) < former

    def _remember(self, session_id: SessionId, stand: _Stand | None) -> None:
        self._stands[session_id] = stand
        self._stands.move_to_end(session_id)
        while len(self._stands) > _REMEMBERED:
            self._stands.popitem(last=False)


def _stand(session: Session) -> _Stand:
    return _Stand(session.version, session.updated_at)
