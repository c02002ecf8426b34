"""Live events: of sessions, on ``chat.live.<user>.<session>``, for sockets; of settings.

Never stored. What was missed is read again: a session from history, an answer by ``resume``.
"""

from datetime import datetime
from typing import Final, Literal

from shared.contracts.history import Session
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.wire import WireModel

HISTORY: Final = "history"
"""The origin of what history says: it has stored that."""


class LiveEvent(WireModel):
    """What has happened in a session."""

    type: Literal[
        "turn_started",
        "turn_ended",
        "queued",
        "typing",
        "stop_typing",
        "present",
        "session_created",
        "session_updated",
        "session_deleted",
    ]
    session_id: SessionId
    origin: str
    """Who says so: ``history``, ``<gateway>``, or ``<gateway>/<socket>`` where one caused it."""
    completion_id: CompletionId | None = None
    """Of the turn; of one that has ended, for ``session_updated``."""
    message_id: MessageId | None = None
    """Of the user message of a turn that has started; absent for a regenerate."""
    content: str | None = None
    """Its text."""
    created_at: datetime | None = None
    position: int | None = None
    """In the queue; 1 is next."""
    estimated_wait_ms: int | None = None
    """For ``queued``; absent while nobody was seen to be served."""
    participants: int | None = None
    """Sockets of the session that ``origin`` has open, for ``present``."""
    asks: bool = False
    """Whether ``origin`` wants to hear the same of the others for a while, for ``present``."""
    title: str | None = None
    """That its session gets by it, for ``turn_started``."""
    session: Session | None = None
    """As it is now, for ``session_created`` and ``session_updated``."""


class SettingsChanged(WireModel):
    """On ``chat.settings``: what a gateway remembers of these is old."""

    user_id: UserId | None = None
    """Whose preferences; absent where it is what is said of models, and the default of all."""
