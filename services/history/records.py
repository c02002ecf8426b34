"""What is stored, in the words of the use cases.

Times are whole milliseconds since 1970, UTC: they are compared and raised inside the database,
and the embedded server compares dates by the second and does not raise them at all.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, field_validator

from services.history.places import Leaf, Node
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
from shared.contracts.history import (
    DEFAULT_TITLE,
    MessageRef,
    Session,
    SessionSettings,
    StoredMessage,
)
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId

SETTINGS: Final = tuple(SessionSettings.model_fields)
"""Names of what a session asks of every completion in it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, cut, not rounded."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """The moment, aware, in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def text_size(*messages: Message) -> int:
    """Bytes of these messages as JSON."""
    return sum(len(message.model_dump_json(exclude_none=True).encode()) for message in messages)


class Record(BaseModel):
    """One document; ``id`` is its ``_id``, and what is ``None`` is not stored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_enum_values=True)


class SessionRecord(Record):
    """A session. What the recorder moves only ever grows; what people change has a version."""

    id: SessionId
    user_id: UserId
    title: str | None = None
    """Given by a person."""
    auto_title: str | None = None
    """``<turn>|<title>`` of the earliest turn that brought one and was not rejected."""
    running_titles: dict[CompletionId, str] | None = None
    """As ``auto_title``, of turns that have not ended: each is kept or taken back at its end."""
    created_at: int
    updated_at: int
    message_count: int = 0
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    tools: list[str] | None = None
    preset_id: str | None = None
    version: int = 1
    """Rises with each change by a person; documents of old have none, and count as 1."""
    turn: int = 0
    """Number of the last turn that was accepted."""
    leaf: str | None = None
    """A ``Leaf`` as text: the end of the last turn that ended."""
    deleted_at: int | None = None
    placed: bool | None = None
    """Whether all its messages can be read by place: not those of an older version."""
    forming: bool | None = None
    """A copy that is being made: it does not exist for anybody but its maker."""
    formed_at: int | None = None
    """When the copy was begun."""
    purging: bool | None = None
    """It is being removed for good."""

    @field_validator("running_titles")
    @classmethod
    def _none_is_none(
        cls, titles: dict[CompletionId, str] | None
    ) -> dict[CompletionId, str] | None:
        # A database keeps the empty document when the last one has gone out of it.
        return titles or None

    def settings(self) -> dict[str, Any]:
        """What it asks of completions, by name; ``None`` where it says nothing."""
        return {name: getattr(self, name) for name in SETTINGS}

    def end(self) -> Leaf | None:
        """The end of the last turn that ended."""
        return Leaf.parse(self.leaf) if self.leaf is not None else None

    def shown_title(self) -> str:
        """A person's title, else the automatic one, else that of a new chat."""
        if self.title is not None:
            return self.title
        automatic = self.auto_title or min((self.running_titles or {}).values(), default="")
        return automatic.partition("|")[2] or DEFAULT_TITLE

    def titled(self) -> bool:
        """Whether a person or a message has given a title that stays."""
        return self.title is not None or self.auto_title is not None

    def to_session(self) -> Session:
        """What queries answer."""
        end = self.end()
        deleted = from_milliseconds(self.deleted_at) if self.deleted_at is not None else None
        return Session(
            **self.settings(),
            id=self.id,
            title=self.shown_title(),
            created_at=from_milliseconds(self.created_at),
            updated_at=from_milliseconds(self.updated_at),
            message_count=self.message_count,
            version=self.version,
            preset_id=self.preset_id,
            active_leaf=end.message_id if end is not None else None,
            deleted_at=deleted,
        )


class MessageRecord(Record):
    """A message; ``size`` counts the bytes of its text, for cutting pages."""

    id: MessageId
    session_id: SessionId
    user_id: UserId
    completion_id: CompletionId | None = None
    """Absent where an import did not say."""
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
    context_omitted: int | None = None

    def to_message(self, sibling_ids: list[MessageId] | None = None) -> StoredMessage:
        """What queries answer."""
        hidden = {"created_at", "session_id", "user_id", "turn", "size", "name"}
        return StoredMessage(
            **self.model_dump(exclude=hidden),
            created_at=from_milliseconds(self.created_at),
            sibling_ids=sibling_ids,
        )

    def node(self) -> Node:
        """Its place in the tree."""
        return Node(self.id, self.parent_id, self.depth, self.turn, self.size)

    def to_ref(self) -> MessageRef:
        """The message without its text."""
        message = Message(role=self.role, content=self.content)
        return MessageRef(id=self.id, role=self.role, depth=self.depth, digest=message.digest())


class UsageRecord(Record):
    """What one completion cost; one per completion that reached an engine."""

    id: CompletionId
    user_id: UserId
    key_id: str | None = None
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
    running: tuple[CompletionId, str] | None = None
    """The title that a turn brings, until it has ended."""
    message_count: int | None = None
    updated_at: int | None = None
    leaf: str | None = None


@dataclass(frozen=True)
class Change:
    """What a person changes in a session; ``updated_at`` is raised, never lowered."""

    updated_at: int
    title: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    cleared: Collection[str] = ()


@dataclass(frozen=True)
class Known:
    """Which events of a completion are stored."""

    accepted: bool = False
    ended: bool = False
    rejected: bool = False
    """Whether its end was that; only where it has ended."""
