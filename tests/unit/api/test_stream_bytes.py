"""The exact bytes of streams, and what an order is made of."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.api.completions.translation import Translated, header_list, to_order
from services.api.parsing import parse_body
from services.api.schemas.chat import ChatCompletionRequest
from services.api.streams.sse import DONE, PING, ChunkEncoder, error_event, run_body
from services.api.streams.steps import Missing
from shared.contracts.chat import CompletionStatus, FunctionCall, ToolCall, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId
from tests.fakes.api.world import FakeWorld, client_of

ID = CompletionId("chatcmpl-" + "0" * 32)
THEN = datetime(2025, 1, 27, 10, 0, 0, tzinfo=UTC)
HEAD = f'data: {{"id":"{ID}","object":"chat.completion.chunk","created":1737972000,"model":"demo",'
USAGE = Usage(prompt_tokens=10, completion_tokens=15, total_tokens=25)
COUNTED = (
    '{"prompt_tokens":10,"completion_tokens":15,"total_tokens":25,'
    '"promptTokens":10,"completionTokens":15,"totalTokens":25}'
)
CALL = ToolCall(id="call_1", function=FunctionCall(name="f", arguments='{"a":1}'))


def encoder(*, include_usage: bool = False) -> ChunkEncoder:
    return ChunkEncoder(ID, "demo", THEN, include_usage=include_usage)


def test_the_finish_chunk_carries_usage_unless_asked_otherwise() -> None:
    choices = '"choices":[{"index":0,"delta":{},"finish_reason":"stop","finishReason":"stop"}]'
    assert encoder().end("stop", USAGE).decode() == (
        f'{HEAD}{choices},"usage":{COUNTED}}}\n\ndata: [DONE]\n\n'
    )
    assert encoder(include_usage=True).end("stop", USAGE).decode() == (
        f'{HEAD}{choices},"usage":null}}\n\n'
        f'{HEAD}"choices":[],"usage":{COUNTED}}}\n\ndata: [DONE]\n\n'
    )


def test_an_answer_that_went_on_after_a_break_says_so_in_the_finish_chunk() -> None:
    run = run_body(2, [7])
    said = b'"attempts":2,"continued_at":[7],"continuedAt":[7]'
    for include_usage in (False, True):
        finish, *_ = encoder(include_usage=include_usage).end("stop", USAGE, run).split(b"\n\n")
        assert said in finish
    assert run_body(1, None) == {}


def test_estimated_usage_says_so() -> None:
    usage = USAGE.model_copy(update={"estimated": True})
    assert b'"totalTokens":25,"estimated":true' in encoder().end("stop", usage)


def test_missing_parts_are_one_ordinary_delta() -> None:
    end = ',"finish_reason":null,"finishReason":null}]}\n\n'
    middle = encoder().missing(Missing("rest é", "", [], opening=False)).decode()
    assert middle == f'{HEAD}"choices":[{{"index":0,"delta":{{"content":"rest é"}}{end}'
    opening = encoder().missing(Missing("", "hm", [CALL], opening=True)).decode()
    assert opening == (
        f'{HEAD}"choices":[{{"index":0,"delta":{{"role":"assistant","reasoning_content":"hm",'
        '"tool_calls":[{"index":0,"id":"call_1","type":"function",'
        '"function":{"name":"f","arguments":"{\\"a\\":1}"}}]}' + end
    )


def test_an_error_in_a_stream_is_followed_by_done() -> None:
    body = {"error": {"message": "m", "type": "server_error", "param": None, "code": "c"}}
    assert error_event(body) == (
        b'data: {"error":{"message":"m","type":"server_error","param":null,"code":"c"}}\n\n'
        b"data: [DONE]\n\n"
    )
    assert (DONE, PING) == (b"data: [DONE]\n\n", b": ping\n\n")


def order(**body: object) -> Translated:
    full = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **body}
    request = parse_body(json.dumps(full).encode(), ChatCompletionRequest)
    return to_order(request, completion_id=ID, created_at=THEN, user_id=UserId("local"))


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"topP": 0.5}, "top_p", 0.5),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"temperature": 0}, "temperature", 0.0),
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"maxTokens": 7}, "max_tokens", 7),
        ({"max_completion_tokens": 8, "max_tokens": 7}, "max_tokens", 8),
        ({"maxCompletionTokens": 8}, "max_tokens", 8),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ["x", "", "y"]}, "stop", ["x", "y"]),
        ({"stop": None}, "stop", []),
        ({"seed": -3}, "seed", -3),
        ({"presencePenalty": 1.5}, "presence_penalty", 1.5),
        ({"frequency_penalty": -2}, "frequency_penalty", -2.0),
    ],
)
def test_sampling_is_read_in_both_spellings(
    body: dict[str, Any], field: str, value: object
) -> None:
    translated = order(**body)
    assert getattr(translated.order.sampling, field) == value
    assert translated.ignored == []


def test_the_frontends_own_request_is_taken_as_it_is() -> None:
    translated = order(
        model="gemini-2.5-flash-preview-04-17",
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi there!"},
        ],
        temperature=1.0,
        topP=0.95,
        tools=["url-context", "image-generation"],
        stream=True,
    )
    assert translated.stream
    assert translated.unavailable_tools == ["url-context", "image-generation"]
    assert translated.order.tools == []


def test_text_is_untouched() -> None:
    text = " \u202e\u0001 😀 e\u0301 <script> \r\n"
    translated = order(messages=[{"role": "user", "content": text}])
    assert translated.order.messages[0].content == text


def test_parts_tools_formats_and_calls_become_the_contracts_words() -> None:
    image = "data:image/png;base64,aGk="
    function = {"name": "f", "parameters": {"type": "object", "properties": {"aB": {}}}}
    translated = order(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "imageUrl": {"url": image}},
                    {"type": "image_url", "image_url": image},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "toolCallId": "c", "content": "42"},
        ],
        tools=[{"type": "function", "function": function}, {"type": "web_search"}, "code"],
        responseFormat={"type": "json_schema", "jsonSchema": {"name": "n", "schema": {"x": 1}}},
        streamOptions={"includeUsage": True},
    )
    user, assistant, tool = translated.order.messages
    assert isinstance(user.content, list)
    assert [part.image_url for part in user.content] == [None, image, image]
    assert assistant.tool_calls is not None
    assert assistant.content is None
    assert tool.tool_call_id == "c"
    assert translated.order.tools[0].parameters == function["parameters"]
    assert translated.unavailable_tools == ["web_search", "code"]
    assert translated.order.response_format.json_schema == {"x": 1}
    assert translated.order.include_usage


@pytest.mark.parametrize(
    ("choice", "tools", "ignored"),
    [("none", 0, []), ("auto", 1, []), ("required", 1, ["tool_choice"]), ({}, 1, ["tool_choice"])],
)
def test_the_choice_of_tools_is_obeyed_as_far_as_engines_can(
    choice: object, tools: int, ignored: list[str]
) -> None:
    translated = order(tools=[{"function": {"name": "f"}}], tool_choice=choice)
    assert len(translated.order.tools) == tools
    assert translated.ignored == ignored


def test_a_header_of_names_is_harmless_and_bounded() -> None:
    assert header_list(["logit_bias", "x\r\ny: z", "é", "logit_bias"]) == ("logit_bias, x__y:_z, _")
    assert len(header_list([f"field_{number}" for number in range(1000)])) <= 400


async def test_unknown_fields_and_named_tools_are_reported_in_headers() -> None:
    world = FakeWorld()
    world.answer("hi")
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": ["url-context"],
        "logit_bias": {},
        "user": "me",
        "n": 1,
    }
    async with client_of(world) as client:
        response = await client.post("/v1/chat/completions/", json=body)
    assert response.status_code == 200
    assert response.headers["x-parley-ignored"] == "logit_bias"
    assert response.headers["x-parley-unavailable-tools"] == "url-context"


async def test_a_whole_answer_with_thinking_and_calls() -> None:
    world = FakeWorld()
    world.answer(tool_calls=[CALL], thinking="hm", finish_reason="tool_calls", usage=USAGE)
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
    async with client_of(world) as client:
        response = await client.post("/v1/chat/completions", json=body)
    (choice,) = response.json()["choices"]
    assert choice["finishReason"] == choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":1}'},
            }
        ],
    }


async def test_an_empty_answer_still_introduces_the_assistant() -> None:
    world = FakeWorld()
    world.answer(usage=USAGE)
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with client_of(world) as client:
        response = await client.post("/v1/chat/completions", json=body)
    first = json.loads(response.text.split("\n\n")[0].removeprefix("data: "))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert response.text.endswith("data: [DONE]\n\n")


async def test_usage_that_no_engine_counted_is_estimated_and_marked() -> None:
    world = FakeWorld()
    world.answer("eight ch")
    body = {"model": "demo", "messages": [{"role": "user", "content": "twelve chars"}]}
    async with client_of(world) as client:
        usage = (await client.post("/v1/chat/completions", json=body)).json()["usage"]
    assert (usage["promptTokens"], usage["completion_tokens"], usage["estimated"]) == (7, 2, True)


async def test_a_failed_ends_partial_answer_goes_out_before_its_error() -> None:
    world = FakeWorld()
    world.answer("par", "tial", status=CompletionStatus.FAILED, code="engine_error")
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with client_of(world) as client:
        response = await client.post("/v1/chat/completions", json=body)
    events = response.text.split("\n\n")
    assert response.status_code == 200
    assert len(events) == 5
    assert '"code":"engine_error"' in events[2]
    assert events[3:] == ["data: [DONE]", ""]


async def test_frames_of_another_version_do_not_break_the_stream() -> None:
    world = FakeWorld()
    world.answer("fine", usage=USAGE)
    good = world.queue.on_request

    def with_noise(command: RunCompletion) -> None:
        box = world.mailboxes.boxes[command.completion_id]
        box.put(Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b"future"))
        good(command)

    world.queue.on_request = with_noise
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with client_of(world) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert '"content": "fine"' in response.text
