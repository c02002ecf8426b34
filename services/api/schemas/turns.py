"""Turns of a session over HTTP: what is said, said anew, or asked for again."""

from typing import Annotated

from pydantic import AliasChoices, Field, field_validator

from services.api.schemas.messages import Content, Part
from services.api.schemas.model import AnswerModel, Flag, RequestModel, Sparse, Text
from services.api.schemas.sessions import MessageBody, MessageUsage, SettingsRequest


class TurnRequest(SettingsRequest):
    """Settings of this turn alone, and whether its answer is streamed."""

    stream: Flag | None = None


class SendMessageRequest(TurnRequest):
    """A message; ``content`` is another name of it, and may hold parts with images."""

    message: Annotated[Content, Field(validation_alias=AliasChoices("message", "content"))]
    parent_id: Annotated[Text, Field(max_length=64)] | None = None
    """The message that it follows; by default the end of the branch that is shown."""

    @field_validator("message")
    @classmethod
    def _says_something(cls, message: str | list[Part]) -> str | list[Part]:
        parts = message if isinstance(message, list) else []
        text = "".join(part.text or "" for part in parts) if parts else str(message)
        if not text.strip() and not any(part.image_url for part in parts):
            raise ValueError("A message needs at least one character.")
        return message


class ForkRequest(RequestModel):
    """Where the new session's branch ends; without a message at the end of the active branch."""

    message_id: Annotated[Text, Field(min_length=1, max_length=64)] | None = None


class TurnBody(AnswerModel):
    """A turn that has ended well, in one piece."""

    completion_id: str
    user_message: Sparse[MessageBody] = None
    """Absent where only the answer is new."""
    ai_message: MessageBody
    finish_reason: str
    usage: MessageUsage
    context_omitted: Sparse[int] = None
    """How many older messages the model was not shown, as they did not fit."""
