"""What request bodies have in common."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

T = TypeVar("T")
Sparse = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""What an answer leaves out where it has no value."""
Text = Annotated[str, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class RequestModel(BaseModel):
    """Takes camelCase and snake_case of every field; what it does not know is kept aside.

    Lists have ``fail_fast``: only the first problem is told, and gathering the millions that 6 MiB
    can hold would stop the gateway for half a minute.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True
    )


class AnswerModel(BaseModel):
    """Is sent in camelCase."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)
