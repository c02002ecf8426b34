"""The words of a conversation: messages, tools, sampling, usage."""

import hashlib
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from shared.contracts.wire import WireModel

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class CompletionStatus(StrEnum):
    """How a completion ended; each ends exactly once."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Waited in the queue longer than it may; no engine saw it."""
    REJECTED = "rejected"
    """Never queued: leaves no message and no usage."""


class FunctionCall(WireModel):
    """What a model wants called; ``arguments`` is JSON text, as OpenAI has it."""

    name: str
    arguments: str


class ToolCall(WireModel):
    """One call in an assistant message."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ContentPart(WireModel):
    """A piece of a message: ``text``, or ``image_url`` (a data URL)."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: str | None = None


class Message(WireModel):
    """One message of a conversation; ``content`` is absent only beside ``tool_calls``."""

    role: Role
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    thinking: str | None = None
    """What an assistant thought before its answer."""

    def text(self) -> str:
        """The text of all parts, joined by nothing; images say nothing here."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or [])

    def digest(self) -> str:
        """SHA-256 of role and content: tells a message sent again from a new one."""
        content = self.model_dump_json(include={"role", "content"}, exclude_none=True)
        return hashlib.sha256(content.encode()).hexdigest()


class FunctionTool(WireModel):
    """A function that the model may call; ``parameters`` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class ResponseFormat(WireModel):
    """``text``, any JSON (``json_object``) or JSON of ``json_schema``."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = None


class Sampling(WireModel):
    """How to draw tokens; what is absent is the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: list[str] = Field(default_factory=list)
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Usage(WireModel):
    """Tokens as the engine counted them; ``estimated`` where it gave no count."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)
    estimated: bool = False


class Timings(WireModel):
    """Where the time went, in milliseconds, each measured on one machine's monotonic clock."""

    queue_ms: int | None = None
    first_token_ms: int | None = None
    total_ms: int | None = None


class Failure(WireModel):
    """An error on its way to the client: a code of ``shared.errors`` and a sentence."""

    code: str
    message: str
    param: str | None = None
    """The field of the request that is to blame, where there is one."""
