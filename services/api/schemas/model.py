"""What request bodies have in common."""

from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

T = TypeVar("T")
Sparse = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""What an answer leaves out where it has no value."""


def _text_of(moment: datetime) -> str:
    # Cut, as where it is stored: what is said at once and what is read later are the same.
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    PlainSerializer(_text_of, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time of an answer: milliseconds, in UTC, with ``Z``."""
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
