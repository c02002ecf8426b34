"""``/api/chat/sessions`` and ``/ai-chat/api/sessions``: requirements 1 and 5."""

import re
from typing import Annotated, Any, Final, Self

from pydantic import Field, field_validator, model_validator

from services.api.schemas.model import AnswerModel, Moment, RequestModel, Sparse, Text
from shared.contracts.history import TITLE_LENGTH, SessionSettings

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PROMPT_LENGTH: Final = 100_000

Title = Annotated[Text, Field(max_length=TITLE_LENGTH)]
Number = Annotated[float, Field(strict=True)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
Name = Annotated[Text, Field(min_length=1, max_length=64)]


KeptFree = Annotated[
    Tokens,
    Field(
        description="Kept free in the model's window for the answer; as much as the window or "
        "more keeps half of it free, and the answer may end earlier with `length`."
    ),
]


class SettingsRequest(RequestModel):
    """What a session, a turn or a preset says of its completions; null says nothing."""

    model: Annotated[Text, Field(min_length=1, max_length=256)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: KeptFree | None = None
    system_prompt: Annotated[Text, Field(max_length=_PROMPT_LENGTH)] | None = None
    tools: Annotated[list[Name], Field(max_length=64, fail_fast=True)] | None = None

    @field_validator("model")
    @classmethod
    def _model_is_a_name(cls, model: str | None) -> str | None:
        if model is not None and (_CONTROL.search(model) or model != model.strip()):
            raise ValueError("A model's name holds no control characters or outer spaces.")
        return model

    def settings(self) -> SessionSettings:
        """What has a value."""
        return SessionSettings(**self.model_dump(include=set(SessionSettings.model_fields)))

    def cleared(self) -> list[str]:
        """The settings that were given as null."""
        return [
            name
            for name in SessionSettings.model_fields
            if name in self.model_fields_set and getattr(self, name) is None
        ]


class CreateSessionRequest(SettingsRequest):
    """A new session; without a title its first message gives one."""

    title: Title | None = None


class UpdateSessionRequest(SettingsRequest):
    """Another title, other settings: what is absent stays, null takes a setting away."""

    title: Title | None = None
    version: Annotated[int, Field(strict=True, ge=0, lt=2**63)] | None = None
    """Only if it still has this version; ``If-Match`` says the same."""

    @field_validator("title")
    @classmethod
    def _title_says_something(cls, title: str | None) -> str:
        # Not called where it is absent.
        if not (title or "").strip():
            raise ValueError("A title needs at least one character.")
        return title or ""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        names = {"title", *SessionSettings.model_fields}
        if not names & self.model_fields_set:
            raise ValueError("Nothing is to be changed: name a title or a setting.")
        return self


class SessionBody(AnswerModel):
    """A session as lists show it."""

    id: str
    title: str
    created_at: Moment
    updated_at: Moment
    message_count: int
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    tools: list[str] | None = None
    version: int = 1
    preset_id: str | None = None
    active_leaf: str | None = None
    deleted_at: Moment | None = None


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
    """A stored message; what has no value is left out, but ``parentId`` is null for the first."""

    id: str
    role: str
    content: str | list[dict[str, Any]]
    created_at: Moment
    parent_id: str | None = None
    sibling_ids: list[str]
    """All with the same parent, the oldest first: itself alone where there is no other."""
    depth: int
    completion_id: Sparse[str] = None
    status: Sparse[str] = None
    finish_reason: Sparse[str] = None
    model: Sparse[str] = None
    thinking: Sparse[str] = None
    attempts: Sparse[int] = None
    continued_at: Sparse[list[int]] = None
    context_omitted: Sparse[int] = None
    tool_calls: Sparse[list[dict[str, Any]]] = None
    tool_call_id: Sparse[str] = None
    usage: Sparse[MessageUsage] = None


class MessageListBody(AnswerModel):
    """A page of one branch, the oldest first.

    ``nextCursor`` asks for older ones, ``previousCursor`` for newer ones; null where none are.
    """

    messages: list[MessageBody]
    next_cursor: str | None
    previous_cursor: str | None


class SessionDetailBody(SessionBody):
    """A session with the messages of its active branch, oldest first."""

    messages: list[MessageBody]
    messages_truncated: bool = False
    """True where there are older ones than these: ``nextCursor`` asks for them."""
    next_cursor: str | None = None
    next_before_depth: int | None = None
