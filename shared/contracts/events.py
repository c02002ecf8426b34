"""Facts of a completion, kept in ``CHAT_EVENTS``: first writer wins, history stores them."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.contracts.chat import (
    CompletionStatus,
    Failure,
    FinishReason,
    Message,
    Timings,
    ToolCall,
    Usage,
)
from shared.contracts.completions import AnswerPlace
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.wire import WireModel


class NewMessage(WireModel):
    """A message that a turn adds to its session."""

    id: MessageId
    parent_id: MessageId | None = None
    depth: int = Field(ge=1)
    message: Message
    sibling_ids: list[MessageId] | None = None
    """As in ``StoredMessage``: it is worded anew, or begins another branch."""


class NewTurn(WireModel):
    """What ``accepted`` brings to a session: only messages that it does not hold yet."""

    session_id: SessionId
    turn: int = Field(ge=1)
    messages: list[NewMessage] = Field(default_factory=list)
    title: str | None = None
    """Set when this is the session's first user message; a title given by a person stays."""


class CompletionAccepted(WireModel):
    """The gateway took the request on; from here somebody owes a ``completed``."""

    type: Literal["accepted"] = "accepted"
    completion_id: CompletionId
    user_id: UserId
    model: str
    accepted_at: datetime
    turn: NewTurn | None = None
    place: AnswerPlace | None = None
    overdue_after_s: float
    """All deadlines together, in seconds after the event's time in the stream."""
    reply_subject: str | None = None
    """Where its frames go, as the request says too."""
    lane: str | None = None
    """The lane that it was queued in."""
    include_usage: bool | None = None
    """Whether its client asked for the extra usage chunk: who resumes goes on in the same form."""
    resumable: bool | None = None
    """Whether it goes on for a grace when its client goes away."""
    unavailable_tools: list[str] | None = None
    """Names of tools that were asked for and are not offered to the model."""


class CompletionCompleted(WireModel):
    """The end and the truth: the whole answer, however it ended. Exactly one per completion."""

    type: Literal["completed"] = "completed"
    completion_id: CompletionId
    user_id: UserId
    key_id: str | None = None
    """The API key that it was asked for with, as its request says."""
    model: str
    """The name that the client used."""
    status: CompletionStatus
    created_at: datetime
    """When the gateway accepted it: the ``created`` of every chunk."""
    completed_at: datetime
    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    """Absent when no engine was reached."""
    timings: Timings = Timings()
    attempts: int = 1
    """How many workers have run it."""
    last_attempt: int | None = None
    """What marks the frames of the one that ended it, where that is not ``attempts``."""
    continued_at: list[int] | None = None
    """Index of the first event after each place where an answer that had broken off went on."""
    context_omitted: int | None = None
    """How many older messages of its session the model was not shown, as they did not fit."""
    events: int = 0
    """How many SSE events (indices 0 to events-1) the answer was sent as."""
    error: Failure | None = None
    place: AnswerPlace | None = None

    @property
    def ended_by(self) -> int:
        """What marks the frames of the attempt that ended it; 0 if no worker did."""
        return self.last_attempt or self.attempts
