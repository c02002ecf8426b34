"""``/api/chat/sessions``: requirements 1, in camelCase."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from services.api.schemas.model import AnswerModel, RequestModel, Text
from shared.contracts.history import TITLE_LENGTH

Title = Annotated[Text, Field(max_length=TITLE_LENGTH)]


class CreateSessionRequest(RequestModel):
    """A new session; without a title its first message gives one."""

    title: Title | None = None
    model: Annotated[Text, Field(max_length=256)] | None = None


class UpdateSessionRequest(RequestModel):
    """Another title."""

    title: Annotated[Title, Field(min_length=1)]


class SessionBody(AnswerModel):
    """A session as lists show it."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    message_count: int
    model: str | None = None


class SessionListBody(AnswerModel):
    """A page of sessions; ``nextCursor`` asks for the next one, null on the last."""

    sessions: list[SessionBody]
    next_cursor: str | None


class MessageUsage(AnswerModel):
    """Tokens that an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool


class MessageBody(AnswerModel):
    """A stored message; what has no value is left out but the requirements' four fields."""

    id: str
    role: str
    content: str | list[dict[str, Any]]
    created_at: datetime
    parent_id: str | None = None
    depth: int
    completion_id: str | None = None
    status: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    thinking: str | None = None
    attempts: int | None = None
    continued_at: list[int] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    usage: MessageUsage | None = None


class SessionDetailBody(SessionBody):
    """A session with the messages of its active branch, oldest first."""

    messages: list[MessageBody]
    next_before_depth: int | None = None
