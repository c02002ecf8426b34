"""Questions and commands to the history service, on ``chat.history.<operation>``, and its replies.

Every one names the user on whose behalf it is asked; a session of somebody else does not exist.
Every reply may carry ``error`` instead of its fields.
"""

from datetime import datetime

from pydantic import Field

from shared.contracts.chat import (
    CompletionStatus,
    ContentPart,
    Failure,
    FinishReason,
    Role,
    ToolCall,
    Usage,
)
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.wire import WireModel

TITLE_LENGTH = 255
DEFAULT_TITLE = "New chat"


class Reply(WireModel):
    """``error`` says why there is nothing else here."""

    error: Failure | None = None


class Session(WireModel):
    """A session as lists show it."""

    id: SessionId
    title: str
    created_at: datetime
    updated_at: datetime
    message_count: int = Field(ge=0)
    """Messages on the longest branch."""
    model: str | None = None


class StoredMessage(WireModel):
    """A message of a session."""

    id: MessageId
    role: Role
    content: str | list[ContentPart] | None = None
    created_at: datetime
    parent_id: MessageId | None = None
    depth: int = Field(ge=1)
    completion_id: CompletionId | None = None
    status: CompletionStatus | None = None
    """How the answer ended; only on assistant messages."""
    finish_reason: FinishReason | None = None
    model: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    usage: Usage | None = None
    attempts: int | None = None
    """How many workers have run its completion, where that was more than one."""
    continued_at: list[int] | None = None
    """As in ``CompletionCompleted``."""


class MessageRef(WireModel):
    """A stored message without its text: enough to place the next turn."""

    id: MessageId
    role: Role
    depth: int = Field(ge=1)
    digest: str
    """``shared.contracts.chat.Message.digest`` of it."""


class ListSessions(WireModel):
    """A page of a user's sessions, newest ``updated_at`` first; what has been completed counts."""

    user_id: UserId
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class SessionPage(Reply):
    """``next_cursor`` is absent on the last page."""

    sessions: list[Session] = Field(default_factory=list)
    next_cursor: str | None = None


class CreateSession(WireModel):
    """Without a title the first user message gives one."""

    user_id: UserId
    session_id: SessionId
    title: str | None = Field(default=None, max_length=TITLE_LENGTH)
    model: str | None = None


class SessionReply(Reply):
    """The session after the command."""

    session: Session | None = None


class GetSession(WireModel):
    """A session and a page of its active branch.

    ``after_completion`` names the last completion that the asker has seen end: the reply holds its
    turn, waiting for the consumer at most 1.5 s and then reading the event itself.
    """

    user_id: UserId
    session_id: SessionId
    after_completion: CompletionId | None = None
    before_depth: int | None = None
    """Only messages less deep than this: the cursor of the page before."""
    limit: int = Field(default=200, ge=1, le=1000)


class SessionDetail(Reply):
    """``messages`` in order of depth; ``next_before_depth`` asks for the ones before them."""

    session: Session | None = None
    messages: list[StoredMessage] = Field(default_factory=list)
    next_before_depth: int | None = None


class UpdateSession(WireModel):
    """Give the session a title."""

    user_id: UserId
    session_id: SessionId
    title: str = Field(max_length=TITLE_LENGTH)


class DeleteSession(WireModel):
    """Soft delete: late events are stored hidden and never undelete."""

    user_id: UserId
    session_id: SessionId


class SessionHeadQuery(WireModel):
    """Where the next turn of this session goes."""

    user_id: UserId
    session_id: SessionId
    after_completion: CompletionId | None = None


class SessionHead(Reply):
    """The active branch's end. All absent but ``turn`` 0 for a session without messages."""

    turn: int = 0
    """Number of the last turn."""
    leaf: MessageRef | None = None
    last_user: MessageRef | None = None
    """The user message nearest to the leaf on its branch; the leaf itself if it is one."""
    titled: bool = False


class HealthQuery(WireModel):
    """Is the history service well?"""


class HistoryHealth(Reply):
    """``database_ok`` is a ping of MongoDB with its latency; ``backlog`` counts waiting events."""

    database_ok: bool = False
    database_latency_ms: float | None = None
    backlog: int | None = None
