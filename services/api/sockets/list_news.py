"""What the list of sessions is told of live events: the newest word on each session counts."""

from collections import OrderedDict, deque
from datetime import datetime
from typing import Final, Literal, NamedTuple

from services.api.completions.answers import to_session_body
from services.api.schemas.sockets import ServerMessage, SessionChanged, SessionDeleted
from shared.contracts.history import DEFAULT_TITLE, Session
from shared.contracts.ids import CompletionId, SessionId
from shared.contracts.live import LiveEvent

_REMEMBERED: Final = 256
_ANSWERING: Final = 32
_UNKNOWN: Final = object()

Kind = Literal["session_created", "session_updated"]


class _Stand(NamedTuple):
    """How new a word is; what was deleted comes back by ``session_created`` alone."""

    version: int
    updated_at: datetime
    words: int
    """Tells it from another one that is as new."""

    def before(self, other: "_Stand") -> bool:
        """Whether the other one is newer."""
        return (self.version, self.updated_at) < (other.version, other.updated_at)


class _Answering(NamedTuple):
    """A session with a turn under way, as it was told last, if it was."""

    completion_id: CompletionId
    title: str | None
    """That it gets by this turn, where it has none."""
    session: Session | None = None


class ListNews:
    """Of one socket. Sessions are read before they are told of, in any order, and some twice."""

    def __init__(self) -> None:
        self._stands: OrderedDict[SessionId, _Stand | None] = OrderedDict()
        self._answering: OrderedDict[SessionId, _Answering] = OrderedDict()
        self._ended: deque[CompletionId] = deque(maxlen=_REMEMBERED)

    def of(self, event: LiveEvent) -> ServerMessage | None:
        """What to say of an event; ``None`` where something newer was said, or it is no news."""
        if event.type == "session_deleted":
            if self._stands.get(event.session_id, _UNKNOWN) is None:
                return None
            self._answering.pop(event.session_id, None)
            self._remember(event.session_id, None)
            return SessionDeleted(session_id=event.session_id)
        if event.session is None:
            return None
        if event.type == "session_created":
            return None if self._was_told(event.session) else self._told(event.type, event.session)
        if event.type != "session_updated":
            return None
        shown = self._end(event.session_id, event.completion_id)
        if shown is None and self._was_told(event.session):
            return None
        if not self._is_old(event.session):
            return self._told("session_updated", event.session)
        # What was read for it is old, but that it is answered no more is news.
        return self._told("session_updated", shown) if shown is not None else None

    def started(self, event: LiveEvent) -> None:
        """A turn has begun: whatever is said of its session before that is read says so, too."""
        session_id, completion_id = event.session_id, event.completion_id
        deleted = self._stands.get(session_id, _UNKNOWN) is None
        if completion_id is None or completion_id in self._ended or deleted:
            return
        self._answering[session_id] = _Answering(completion_id, event.title)
        self._answering.move_to_end(session_id)
        while len(self._answering) > _ANSWERING:
            self._answering.popitem(last=False)

    def begun(self, event: LiveEvent, session: Session) -> ServerMessage | None:
        """What to say of a turn that has ``started`` in a session, which was read since then."""
        answering = self._answering.get(session.id)
        if answering is None or answering.completion_id != event.completion_id:
            return None
        # What was said since it was read is newer, and has said that it is being answered.
        return None if self._is_old(session) else self._told("session_updated", session)

    def told_of(self, session_id: SessionId) -> object:
        """Another one, when something was said of this session since."""
        return self._stands.get(session_id, _UNKNOWN)

    def _end(self, session_id: SessionId, completion_id: CompletionId | None) -> Session | None:
        """The session as it is shown, where it is shown as being answered by this completion."""
        if completion_id is None:
            return None
        self._ended.append(completion_id)
        answering = self._answering.get(session_id)
        if answering is None or answering.completion_id != completion_id:
            return None
        del self._answering[session_id]
        return answering.session

    def _told(self, kind: Kind, session: Session) -> ServerMessage:
        answering = self._answering.get(session.id)
        if answering is not None:
            if answering.title is not None and session.title == DEFAULT_TITLE:
                session = session.model_copy(update={"title": answering.title})
            self._answering[session.id] = answering._replace(session=session)
        self._remember(session.id, _stand(session))
        return SessionChanged(
            type=kind,
            session=to_session_body(session),
            answering=answering.completion_id if answering is not None else None,
        )

    def _is_old(self, session: Session) -> bool:
        if session.id not in self._stands:
            return False
        former = self._stands[session.id]
        return former is None or _stand(session).before(former)

    def _was_told(self, session: Session) -> bool:
        return self._stands.get(session.id) == _stand(session)

    def _remember(self, session_id: SessionId, stand: _Stand | None) -> None:
        self._stands[session_id] = stand
        self._stands.move_to_end(session_id)
        while len(self._stands) > _REMEMBERED:
            self._stands.popitem(last=False)


def _stand(session: Session) -> _Stand:
    return _Stand(session.version, session.updated_at, hash(session.to_bytes()))
