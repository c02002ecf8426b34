"""Requests in Ollama's words."""

from typing import Any

import pytest

from services.inference_worker.adapters.ollama_request import chat_body
from shared.contracts.chat import (
    ContentPart,
    FunctionCall,
    FunctionTool,
    Message,
    ResponseFormat,
    Sampling,
    ToolCall,
)
from shared.errors import InvalidRequest
from tests.fakes.inference_worker.requests import request


def body(**changes: object) -> dict[str, Any]:
    return chat_body(request("Say hello", **changes))


def test_a_plain_request_says_nothing_that_the_client_did_not_say() -> None:
    assert body() == {
        "model": "demo:latest",
        "messages": [{"role": "user", "content": "Say hello"}],
        "stream": True,
        "truncate": False,
        "shift": False,
    }


def test_sampling_becomes_options_zero_included() -> None:
    sampling = Sampling(
        temperature=0, top_p=0.5, max_tokens=9, stop=["x"], seed=0, presence_penalty=0.1,
        frequency_penalty=0.2,
    )  # fmt: skip
    assert body(sampling=sampling)["options"] == {
        "temperature": 0,
        "top_p": 0.5,
        "num_predict": 9,
        "stop": ["x"],
        "seed": 0,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    }


def test_a_developer_is_a_system() -> None:
    messages = [Message(role="developer", content="Be brief")]
    assert body(messages=messages)["messages"] == [{"role": "system", "content": "Be brief"}]


def test_images_are_base64_beside_the_joined_text() -> None:
    parts = [
        ContentPart(type="text", text="What is "),
        ContentPart(type="image_url", image_url="data:image/png;base64,AAAA"),
        ContentPart(type="text", text="this?"),
    ]
    assert body(messages=[Message(role="user", content=parts)])["messages"] == [
        {"role": "user", "content": "What is this?", "images": ["AAAA"]}
    ]


def test_an_image_on_the_web_is_refused() -> None:
    parts = [ContentPart(type="image_url", image_url="https://example.org/a.png")]
    with pytest.raises(InvalidRequest, match="data URL"):
        body(messages=[Message(role="user", content=parts)])


def test_a_tool_call_and_its_answer_are_told_with_objects_and_names() -> None:
    call = ToolCall(id="call_1", function=FunctionCall(name="weather", arguments='{"city":"Rome"}'))
    messages = [
        Message(role="assistant", tool_calls=[call]),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
    ]
    assert body(messages=messages)["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "function": {"name": "weather", "arguments": {"city": "Rome"}},
                }
            ],
        },
        {
            "role": "tool",
            "content": "sunny",
            "tool_name": "weather",
            "tool_call_id": "call_1",
        },
    ]


@pytest.mark.parametrize("arguments", ["{", "[]", "5"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments=arguments))
    with pytest.raises(InvalidRequest, match="arguments"):
        body(messages=[Message(role="assistant", tool_calls=[call])])


def test_tools_keep_their_schema_to_the_letter() -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}, "$defs": {}}
    tool = FunctionTool(name="f", description="does it", parameters=schema)
    assert body(tools=[tool])["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does it", "parameters": schema},
        }
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ResponseFormat(type="json_object"), "json"),
        (
            ResponseFormat(type="json_schema", json_schema={"name": "n", "schema": {"a": 1}}),
            {"a": 1},
        ),
        (
            ResponseFormat(type="json_schema", json_schema={"type": "object"}),
            {"type": "object"},
        ),
    ],
)
def test_the_response_format_is_ollamas_format(wanted: ResponseFormat, expected: object) -> None:
    assert body(response_format=wanted)["format"] == expected
