"""Between HTTP and the contracts: pure."""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from services.api.completions.catalog import Offer
from services.api.completions.orders import Order
from services.api.schemas.chat import ChatCompletionRequest, ToolSpec
from services.api.schemas.messages import Part, RequestMessage
from services.api.schemas.models import ModelBody, ModelMetadata
from services.api.streams.sse import run_body, tool_call_bodies, usage_body
from shared.contracts.chat import (
    CompletionStatus,
    ContentPart,
    FinishReason,
    FunctionCall,
    FunctionTool,
    Message,
    ResponseFormat,
    Sampling,
    ToolCall,
    Usage,
)
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.token_estimates import CHARACTERS, roughly
from shared.errors import Cancelled, ChatError, DeadlineExceeded, WorkerLost, error_from

_HEADER_NAME: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_HEADER_LENGTH: Final = 400


class Translated(NamedTuple):
    """An order, and what of the request it leaves out."""

    order: Order
    stream: bool
    ignored: list[str]
    unavailable_tools: list[str]


def to_order(
    request: ChatCompletionRequest,
    *,
    completion_id: CompletionId,
    created_at: datetime,
    user_id: UserId,
) -> Translated:
    """What a request means."""
    ignored = list(request.model_extra or {})
    tools, unavailable = _tools(request)
    choice = request.tool_choice
    if choice == "none":
        tools = []
    elif choice is not None and choice != "auto":
        # Ollama has no such thing: the model chooses.
        ignored.append("tool_choice")
    options = request.stream_options
    order = Order(
        completion_id=completion_id,
        created_at=created_at,
        user_id=user_id,
        model=request.model,
        messages=[_message(message) for message in request.messages],
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.limit(),
            stop=request.stops(),
            seed=request.seed,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
        ),
        tools=tools,
        response_format=_response_format(request),
        include_usage=bool(options is not None and options.include_usage),
        session_id=SessionId(request.session_id) if request.session_id is not None else None,
    )
    return Translated(order, bool(request.stream), ignored, unavailable)


def header_list(names: list[str]) -> str:
    """Names as a header's value: only harmless characters, and not too many of them."""
    some = islice(filter(None, dict.fromkeys(names)), _HEADER_LENGTH)
    safe = [_HEADER_NAME.sub("_", name[:64]) for name in some]
    text = ", ".join(safe)
    return text if len(text) <= _HEADER_LENGTH else text[:_HEADER_LENGTH].rsplit(", ", 1)[0]


def failure_of(end: CompletionCompleted) -> ChatError | None:
    """The error that an end means to its client; ``None`` for a good one."""
    match end.status:
        case CompletionStatus.COMPLETED:
            return None
        case CompletionStatus.CANCELLED:
            return Cancelled("The completion was cancelled.")
        case CompletionStatus.EXPIRED:
            return DeadlineExceeded("The request waited too long for a free worker.")
        case _ if end.error is not None:
            return error_from(end.error.code, end.error.message, end.error.param)
        case _:
            return WorkerLost("The completion failed without saying why.")


def finish_reason_of(end: CompletionCompleted) -> FinishReason:
    """Why a good answer ended; every one has a reason on the wire."""
    return end.finish_reason or ("tool_calls" if end.tool_calls else "stop")


def usage_of(end: CompletionCompleted, order: Order) -> Usage:
    """The engine's counts; where nobody wrote down any, a rough estimate, and marked so."""
    if end.usage is not None:
        return end.usage
    prompt = sum(map(roughly, order.messages))
    answer = (len(end.text) + len(end.thinking)) // CHARACTERS
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answer,
        total_tokens=prompt + answer,
        estimated=True,
    )


def choice_body(
    text: str, thinking: str, tool_calls: Sequence[ToolCall], reason: FinishReason | None
) -> dict[str, Any]:
    """The one choice of an answer that is not streamed."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not tool_calls else None,
        "refusal": None,
    }
    if thinking:
        message["reasoning_content"] = thinking
    if tool_calls:
        message["tool_calls"] = tool_call_bodies(tool_calls, indexed=False)
    return {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reason,
        "finishReason": reason,
    }


def to_completion_body(end: CompletionCompleted, order: Order) -> dict[str, Any]:
    """An answer in one piece: OpenAI's envelope with both spellings."""
    choice = choice_body(end.text, end.thinking, end.tool_calls, finish_reason_of(end))
    return {
        "id": end.completion_id,
        "object": "chat.completion",
        "created": int(order.created_at.timestamp()),
        "model": order.model,
        "choices": [choice],
        "usage": usage_body(usage_of(end, order)),
        **run_body(end.attempts, end.continued_at, end.context_omitted),
    }


def to_model_body(offer: Offer) -> ModelBody:
    """A model as lists and single reads show it."""
    card = offer.card
    label = (card.family, card.format, card.parameter_size, card.quantization_level)
    return ModelBody(
        id=offer.id,
        created=card.modified_at,
        owned_by="parley",
        displayLabel=" ".join(part for part in label if part) or offer.id,
        contextLength=card.context_length,
        capabilities=card.capabilities,
        metadata=ModelMetadata(
            family=card.family,
            format=card.format,
            parameter_size=card.parameter_size,
            quantization_level=card.quantization_level,
        ),
    )


def message_from(content: str | list[Part]) -> Message:
    """What a user says."""
    return Message(role="user", content=content_of(content))


def _message(message: RequestMessage) -> Message:
    content = message.content
    calls = message.tool_calls
    return Message(
        role=message.role,
        content=content_of(content) if content is not None else None,
        tool_calls=[
            ToolCall(
                id=call.id,
                function=FunctionCall(name=call.function.name, arguments=call.function.arguments),
            )
            for call in calls
        ]
        if calls
        else None,
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def content_of(content: str | list[Part]) -> str | list[ContentPart]:
    """Text, or parts, as the contracts have them."""
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: Part) -> ContentPart:
    url = part.image_url.url if part.image_url is not None else None
    return ContentPart(type=part.type, text=part.text, image_url=url)


def _tools(request: ChatCompletionRequest) -> tuple[list[FunctionTool], list[str]]:
    available: list[FunctionTool] = []
    unavailable: list[str] = []
    for tool in request.tools or []:
        if not isinstance(tool, ToolSpec):
            unavailable.append(tool)
        elif tool.type != "function" or tool.function is None:
            unavailable.append(tool.type)
        else:
            available.append(
                FunctionTool(
                    name=tool.function.name,
                    description=tool.function.description,
                    parameters=tool.function.parameters or {},
                )
            )
    return available, unavailable


def _response_format(request: ChatCompletionRequest) -> ResponseFormat:
    wanted = request.response_format
    if wanted is None:
        return ResponseFormat()
    spec = wanted.json_schema if wanted.type == "json_schema" else None
    return ResponseFormat(type=wanted.type, json_schema=spec.schema_ if spec is not None else None)
