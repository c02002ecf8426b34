"""The body of ``POST /api/chat``, read as strictly as Ollama reads it."""

import base64
import binascii
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from deploy.local.demo_engine.errors import Refused

ThinkLevel = Literal["low", "medium", "high", "max"]


def _decode_image(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("illegal base64 data") from error


def _none_to_empty_text(value: object) -> object:
    return "" if value is None else value


def _none_to_empty_list(value: object) -> object:
    return [] if value is None else value


def _none_to_empty_map(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, BeforeValidator(_none_to_empty_text)]
Maps = Annotated[list[dict[str, Any]], BeforeValidator(_none_to_empty_list)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Message(_Body):
    """One message of the conversation; ``images`` are decoded."""

    role: Text = ""
    content: Text = ""
    thinking: Text = ""
    images: Annotated[
        list[Annotated[bytes, BeforeValidator(_decode_image)]],
        BeforeValidator(_none_to_empty_list),
    ] = []
    tool_calls: Maps = []
    tool_name: Text = ""


class ChatRequest(_Body):
    """What a client asks of ``/api/chat``; what is absent or null is as Ollama's default."""

    model: Text = ""
    messages: Annotated[list[Message], BeforeValidator(_none_to_empty_list)] = []
    stream: bool | None = None
    format: Any = None
    keep_alive: float | str | None = None
    tools: Maps = []
    options: Annotated[dict[str, Any], BeforeValidator(_none_to_empty_map)] = {}
    think: bool | ThinkLevel | None = None
    truncate: bool | None = None
    shift: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @cached_property
    def prefill(self) -> Message | None:
        """The trailing assistant message that is to be continued, if there is one."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role.lower() != "assistant" or last.tool_calls:
            return None
        return last

    @cached_property
    def asked(self) -> Sequence[Message]:
        """The messages without the one to continue."""
        return self.messages[:-1] if self.prefill else self.messages


class SamplingOptions(_Body):
    """The options of Ollama's that the engine honours; it ignores the others."""

    seed: int | None = None
    temperature: float | None = None
    num_predict: int | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    stop: list[str] | None = None

    @property
    def deterministic(self) -> bool:
        """Whether the same prompt must get the same answer."""
        return self.temperature == 0 or self.seed is not None


def read_json(body: bytes) -> dict[str, Any]:
    """Parse a request body.

    Raises:
        Refused: it is not a JSON object.
    """
    if not body.strip():
        raise Refused(400, "missing request body")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"invalid JSON: {error}") from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise Refused(400, f"json: cannot unmarshal {kind} into Go value of type api.ChatRequest")
    return found


def read_chat_request(body: bytes) -> ChatRequest:
    """Parse and check the body of ``/api/chat``.

    Raises:
        Refused: it is not JSON, or a field has the wrong type.
    """
    fields = read_json(body)
    think = fields.get("think")
    if isinstance(think, str) and think not in ("low", "medium", "high", "max"):
        allowed = '(must be "high", "medium", "low", "max", true, or false)'
        raise Refused(400, f'invalid think value: "{think}" {allowed}')
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["loc"][0] == "top_logprobs":
            raise Refused(400, "top_logprobs must be between 0 and 20") from error
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(
            400, f"json: cannot unmarshal field ChatRequest.{where}: {first['msg']}"
        ) from error


def read_sampling_options(options: dict[str, Any]) -> SamplingOptions:
    """The options that the engine honours.

    Raises:
        Refused: one of them has the wrong type; Ollama answers 500 to that.
    """
    try:
        return SamplingOptions.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Refused(500, f'option "{first["loc"][0]}" has the wrong type') from error
