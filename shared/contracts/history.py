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


class SessionSettings(WireModel):
    """What a session asks of every completion in it, unless the request says otherwise."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    tools: list[str] | None = None
    """Names of tools that its client offers, as requirements 1 has them."""


class Session(SessionSettings):
    """A session as lists show it."""

    id: SessionId
    title: str
    created_at: datetime
    updated_at: datetime
    message_count: int = Field(ge=0)
    """Messages on the longest branch."""
    version: int = 1
    """Rises with each change of title or settings, by one."""
    preset_id: str | None = None
    """The preset that its settings were copied from."""
    active_leaf: MessageId | None = None
    """The message at the end of the branch that is shown."""
    deleted_at: datetime | None = None


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
    context_omitted: int | None = None
    """As in ``CompletionCompleted``, both."""
    sibling_ids: list[MessageId] | None = None
    """All with the same parent, this one too, the oldest first; absent if it has no other."""


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
    search: str | None = Field(default=None, max_length=200)
    """Only sessions with each of these words in title or messages; the last may be a beginning."""
    deleted: bool = False
    """Those that were deleted, and can be restored, instead."""


class SessionPage(Reply):
    """``next_cursor`` is absent on the last page."""

    sessions: list[Session] = Field(default_factory=list)
    next_cursor: str | None = None


class CreateSession(SessionSettings):
    """Without a title the first user message gives one."""

    user_id: UserId
    session_id: SessionId
    title: str | None = Field(default=None, max_length=TITLE_LENGTH)
    preset_id: str | None = None


class SessionReply(Reply):
    """The session after the command; ``unchanged`` says that there was nothing to do."""

    session: Session | None = None
    unchanged: bool | None = None


class GetSession(WireModel):
    """A session and a page of its active branch, or of the one that ends at ``leaf``.

    ``after_completion`` names the last completion that the asker has seen end: the reply holds its
    turn, waiting for the consumer at most 1.5 s and then reading the event itself.
    """

    user_id: UserId
    session_id: SessionId
    after_completion: CompletionId | None = None
    leaf: MessageId | None = None
    before_depth: int | None = None
    """Only messages less deep than this: the cursor of the page before."""
    after_depth: int | None = None
    """Only messages deeper than this: the cursor of the page after."""
    limit: int = Field(default=200, ge=1, le=1000)
    following: bool = False
    """Whether to name the messages after ``leaf``, too."""


class SessionDetail(Reply):
    """``messages`` in order of depth; the cursors ask for those before and after them."""

    session: Session | None = None
    messages: list[StoredMessage] = Field(default_factory=list)
    next_before_depth: int | None = None
    next_after_depth: int | None = None
    following: list[MessageId] | None = None
    """All whose parent is ``leaf``, the oldest first, where they were asked for."""


class UpdateSession(WireModel):
    """Change the session: what is absent stays as it is."""

    user_id: UserId
    session_id: SessionId
    title: str | None = Field(default=None, max_length=TITLE_LENGTH)
    settings: SessionSettings | None = None
    cleared: list[str] = Field(default_factory=list)
    """Names of settings that get no value any more."""
    version: int | None = None
    """Only if the session still has this one."""
    after_completion: CompletionId | None = None
    """See ``GetSession``."""


class DeleteSession(WireModel):
    """Soft delete, if the session still has ``version``: late events never undelete."""

    user_id: UserId
    session_id: SessionId
    version: int | None = None


class RestoreSession(WireModel):
    """Bring a deleted session back, with what was stored meanwhile."""

    user_id: UserId
    session_id: SessionId


class ForkSession(WireModel):
    """A new session with the branch that ends at a message, and the same settings."""

    user_id: UserId
    session_id: SessionId
    message_id: MessageId
    new_session_id: SessionId


class ReadTree(WireModel):
    """A page of all messages of all branches, in order of depth, then id."""

    user_id: UserId
    session_id: SessionId
    after_completion: CompletionId | None = None
    cursor: str | None = None


class MessageTree(Reply):
    """A part of a session's tree; ``next_cursor`` is absent on the last page."""

    session: Session | None = None
    messages: list[StoredMessage] = Field(default_factory=list)
    next_cursor: str | None = None


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
