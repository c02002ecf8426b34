"""What a cancel is answered with."""

from typing import Any, Literal

from pydantic import Field

from services.api.schemas.errors import ErrorDetail
from services.api.schemas.model import AnswerModel


class CancelBody(AnswerModel):
    """How the completion stands; both spellings where they differ."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    status: Literal["cancelling", "cancelled", "completed", "failed"]
    already_ended: bool = Field(description="It had ended before this cancel came.")
    already_ended_: bool = Field(alias="already_ended")
    created: int | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: ErrorDetail | None = None
