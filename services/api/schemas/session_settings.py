"""What a session, a preset and a user may ask of every completion."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from services.api.schemas.chat import Number, Tokens
from services.api.schemas.model import AnswerModel, RequestModel, Text
from shared.contracts.history import SessionSettings

PROMPT_LENGTH: Final = 32_768
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _is_a_name(name: str) -> str:
    if _CONTROL.search(name) or name != name.strip():
        raise ValueError("a name holds no control characters or outer spaces")
    return name


ModelName = Annotated[Text, Field(min_length=1, max_length=256), AfterValidator(_is_a_name)]
ToolName = Annotated[Text, Field(min_length=1, max_length=64), AfterValidator(_is_a_name)]
Temperature = Annotated[Number, Field(ge=0, le=2)]


class SettingsRequest(RequestModel):
    """Settings; absent and null are no value."""

    model: ModelName | None = None
    temperature: Temperature | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    system_prompt: Annotated[Text, Field(max_length=PROMPT_LENGTH)] | None = None
    tools: Annotated[list[ToolName], Field(max_length=64, fail_fast=True)] | None = None

    def settings(self) -> SessionSettings:
        """The settings among the fields."""
        return SessionSettings(**self.model_dump(include=set(SessionSettings.model_fields)))

    def cleared(self) -> list[str]:
        """The settings that were given as null."""
        return [
            name
            for name in SessionSettings.model_fields
            if name in self.model_fields_set and getattr(self, name) is None
        ]


class SettingsBody(AnswerModel):
    """Settings; null where there is no value."""

    model: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    system_prompt: str | None
    tools: list[str] | None
