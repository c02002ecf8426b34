"""What is stored, in the words of the use cases.

Times are whole milliseconds since 1970, UTC: they are compared and raised inside the database,
and the embedded server compares dates by the second and does not raise them at all.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.contracts.chat import (
    CompletionStatus,
    ContentPart,
    FinishReason,
    Message,
    Role,
    ToolCall,
    Usage,
)
from shared.contracts.completions import AnswerPlace
from shared.contracts.history import DEFAULT_TITLE, MessageRef, Session, StoredMessage
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, cut, not rounded."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """The moment, aware, in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


class Record(BaseModel):
    """One document; ``id`` is its ``_id``, and what is ``None`` is not stored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_enum_values=True)


class SessionRecord(Record):
    """A session. Everything but ``title`` and ``deleted_at`` only ever grows."""

    id: SessionId
    user_id: UserId
    title: str | None = None
    """Given by a person."""
    auto_title: str | None = None
    """``<turn>|<title>`` of the earliest turn that brought one."""
    created_at: int
    updated_at: int
    message_count: int = 0
    model: str | None = None
    turn: int = 0
    """Number of the last turn that was accepted."""
    leaf: str | None = None
    """A ``Leaf`` as text: the end of the last turn that ended."""
    deleted_at: int | None = None

    def titled(self) -> bool:
        """Whether a person or a message has given a title."""
        return self.title is not None or self.auto_title is not None

    def to_session(self) -> Session:
        """What queries answer."""
        automatic = self.auto_title.partition("|")[2] if self.auto_title else DEFAULT_TITLE
        return Session(
            id=self.id,
            title=self.title if self.title is not None else automatic,
            created_at=from_milliseconds(self.created_at),
            updated_at=from_milliseconds(self.updated_at),
            message_count=self.message_count,
            model=self.model,
        )


class MessageRecord(Record):
    """A message; ``size`` counts the bytes of its text, for cutting pages."""

    id: MessageId
    session_id: SessionId
    user_id: UserId
    completion_id: CompletionId
    turn: int
    depth: int
    parent_id: MessageId | None = None
    role: Role
    created_at: int
    size: int
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    thinking: str | None = None
    status: CompletionStatus | None = None
    finish_reason: FinishReason | None = None
    model: str | None = None
    usage: Usage | None = None
    attempts: int | None = None
    continued_at: list[int] | None = None

    def to_message(self) -> StoredMessage:
        """What queries answer."""
        return StoredMessage(
            **self.model_dump(
                exclude={"created_at", "session_id", "user_id", "turn", "size", "name"}
            ),
            created_at=from_milliseconds(self.created_at),
        )

    def to_ref(self) -> MessageRef:
        """The message without its text."""
        message = Message(role=self.role, content=self.content)
        return MessageRef(id=self.id, role=self.role, depth=self.depth, digest=message.digest())


class UsageRecord(Record):
    """What one completion cost; one per completion that reached an engine."""

    id: CompletionId
    user_id: UserId
    session_id: SessionId | None = None
    model_used: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool
    status: CompletionStatus
    created_at: int
    day: str
    """``YYYY-MM-DD``, UTC."""
    day_model: str
    """``<day>|<model>``: the embedded server cannot group by two fields."""
    first_token_ms: int | None = None
    total_ms: int | None = None


class OpenCompletion(Record):
    """An accepted completion: what its end needs, should nobody else tell it."""

    id: CompletionId
    user_id: UserId
    model: str
    accepted_at: int
    overdue_at: int
    place: AnswerPlace | None = None


@dataclass(frozen=True)
class Advance:
    """How an event moves its session forward; each field is raised, never lowered."""

    turn: int
    title: str | None = None
    message_count: int | None = None
    updated_at: int | None = None
    leaf: str | None = None


@dataclass(frozen=True)
class Known:
    """Which events of a completion are stored."""

    accepted: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Node:
    """A message without its text: enough to find the active branch."""

    id: MessageId
    parent_id: MessageId | None
    depth: int
    turn: int
    size: int


@dataclass(frozen=True)
class Leaf:
    """The end of a turn, as text that sorts: later turns first, then answers before questions."""

    turn: int
    answered: bool
    message_id: MessageId

    def __str__(self) -> str:
        return f"{self.turn:010d}|{int(self.answered)}|{self.message_id}"

    @classmethod
    def parse(cls, text: str) -> "Leaf":
        """Read what ``str`` made."""
        turn, answered, message = text.split("|", 2)
        return cls(int(turn), answered == "1", MessageId(message))
