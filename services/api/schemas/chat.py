"""``POST /v1/chat/completions``: what a client may ask for."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, Discriminator, Field, Tag, field_validator, model_validator

from services.api.schemas.messages import RequestMessage
from services.api.schemas.model import Flag, RequestModel, Text
from shared.contracts.ids import SessionId, parse_session_id

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MOST_STOPS: Final = 4
_INT64: Final = 2**63

Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Tokens = Annotated[Whole, Field(ge=1, le=2**31 - 1)]


class FunctionSpec(RequestModel):
    """A function that the model may call."""

    name: Annotated[Text, Field(min_length=1, max_length=256)]
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class ToolSpec(RequestModel):
    """A tool; kinds other than ``function`` are accepted and reported as not available."""

    type: Annotated[Text, Field(min_length=1, max_length=64)] = "function"
    function: FunctionSpec | None = None

    @model_validator(mode="after")
    def _has_its_function(self) -> Self:
        if self.type == "function" and self.function is None:
            raise ValueError("A function tool needs the field function.")
        return self


class JsonSchemaSpec(RequestModel):
    """A named JSON schema."""

    name: Text | None = None
    # ``schema`` would hide a method of pydantic's.
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormatSpec(RequestModel):
    """Text, any JSON, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaSpec | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("The response_format json_schema needs the field json_schema.")
        return self


class StreamOptions(RequestModel):
    """What a stream should hold besides content."""

    include_usage: Flag | None = None


def _kind_of_tool(value: object) -> str:
    return "<named>" if isinstance(value, str) else "<spec>"


Tool = Annotated[
    Annotated[Text, Tag("<named>"), Field(max_length=64)] | Annotated[ToolSpec, Tag("<spec>")],
    Discriminator(_kind_of_tool),
]


def _kind_of_stop(value: object) -> str:
    return "<list>" if isinstance(value, list) else "<one>"


Stop = Annotated[
    Annotated[Text, Tag("<one>")]
    | Annotated[list[Text], Tag("<list>"), Field(max_length=_MOST_STOPS, fail_fast=True)],
    Discriminator(_kind_of_stop),
]


class ChatCompletionRequest(RequestModel):
    """The body; fields that are not listed are accepted and named in a response header."""

    model: Annotated[Text, Field(min_length=1, max_length=256)]
    messages: Annotated[list[RequestMessage], Field(min_length=1, fail_fast=True)]
    stream: Flag | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: Stop | None = None
    seed: Annotated[Whole, Field(ge=-_INT64, lt=_INT64)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    n: Annotated[Whole, Field(ge=1, le=1)] | None = None
    response_format: ResponseFormatSpec | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    tool_choice: Any = None
    user: Text | None = None
    session_id: Annotated[
        Text | None, Field(validation_alias=AliasChoices("sessionId", "session_id"))
    ] = None

    @field_validator("model")
    @classmethod
    def _model_is_a_name(cls, model: str) -> str:
        if _CONTROL.search(model) or model != model.strip():
            raise ValueError("A model's name holds no control characters or outer spaces.")
        return model

    @field_validator("session_id")
    @classmethod
    def _session_is_a_uuid(cls, session_id: str | None) -> SessionId | None:
        if session_id is None:
            return None
        parsed = parse_session_id(session_id)
        if parsed is None:
            raise ValueError("A session id is a UUID.")
        return parsed

    def limit(self) -> int | None:
        """The most tokens to generate; the newer name wins."""
        return self.max_completion_tokens or self.max_tokens

    def stops(self) -> list[str]:
        """Stop strings, however they were given; an empty one stops nothing."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in given if stop]
