"""A request of the house as the body of Ollama's ``POST /api/chat``: pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.contracts.chat import ContentPart, FunctionTool, Message, ResponseFormat, Sampling
from shared.contracts.completions import RunCompletion
from shared.errors import InvalidRequest


def chat_body(run: RunCompletion) -> dict[str, Any]:
    """The body; what the client did not say is left to the model's own defaults.

    ``truncate`` is off: a prompt that is too long is an error, not silently another prompt.
    ``shift`` is off: an answer that fills the window ends there (``length``); else Ollama drops the
    prompt's front while it generates, and goes on for up to ten windows (measured on 0.20.7).

    Raises:
        InvalidRequest: an image that is no data URL, arguments that are no JSON object.
    """
    body: dict[str, Any] = {
        "model": run.model,
        "messages": _messages(run.messages),
        "stream": True,
        "truncate": False,
        "shift": False,
    }
    if run.think is not None:
        body["think"] = run.think
    options = _options(run.sampling)
    if options:
        body["options"] = options
    if run.tools:
        body["tools"] = [_tool(tool) for tool in run.tools]
    answer_format = _format(run.response_format)
    if answer_format is not None:
        body["format"] = answer_format
    return body


def _options(sampling: Sampling) -> dict[str, Any]:
    options: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "num_predict": sampling.max_tokens,
        "stop": sampling.stop or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    return {name: value for name, value in options.items() if value is not None}


def _format(wanted: ResponseFormat) -> str | Mapping[str, Any] | None:
    if wanted.type == "text":
        return None
    schema = wanted.json_schema
    if wanted.type == "json_object" or schema is None:
        return "json"
    # OpenAI wraps the schema in a name; a bare one is understood too.
    inner = schema.get("schema")
    return inner if isinstance(inner, dict) and "name" in schema else schema


def _tool(tool: FunctionTool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    # A tool's answer names the call, Ollama wants the function's name: remember who was called.
    names: dict[str, str] = {}
    translated = []
    for message in messages:
        for call in message.tool_calls or ():
            names[call.id] = call.function.name
        translated.append(_message(message, names))
    return translated


def _message(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    translated: dict[str, Any] = {"role": role, "content": message.text()}
    parts = message.content if isinstance(message.content, list) else ()
    images = [_image(part) for part in parts if part.type == "image_url"]
    if images:
        translated["images"] = images
    if message.thinking:
        translated["thinking"] = message.thinking
    if message.tool_calls:
        translated["tool_calls"] = [
            {
                "id": call.id,
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        name = message.name or names.get(message.tool_call_id or "")
        if name:
            translated["tool_name"] = name
        if message.tool_call_id:
            translated["tool_call_id"] = message.tool_call_id
    return translated


def _image(part: ContentPart) -> str:
    scheme, comma, data = (part.image_url or "").partition(",")
    if not comma or not scheme.startswith("data:") or not scheme.endswith(";base64"):
        message = "An image must be a data URL in base64: engines fetch nothing from the web."
        raise InvalidRequest(message, param="messages")
    return data


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidRequest("A tool call's arguments are no JSON.", param="messages") from error
    if not isinstance(arguments, dict):
        raise InvalidRequest("A tool call's arguments are no JSON object.", param="messages")
    return arguments
