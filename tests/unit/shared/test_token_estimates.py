"""What no engine has counted is charged from above, whatever was said in whatever script."""

import json
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.demo_engine.chat_request import ChatRequest, SamplingOptions
from deploy.local.demo_engine.models import Model
from deploy.local.demo_engine.prompt import evaluated_tokens
from deploy.local.demo_engine.tokenizer import count_tokens
from services.inference_worker.adapters.ollama_request import chat_body
from shared.contracts.chat import (
    ContentPart,
    FunctionCall,
    FunctionTool,
    Message,
    Role,
    ToolCall,
)
from shared.contracts.token_estimates import (
    call_at_most,
    prompt_at_most,
    text_at_most,
    unseen_at_most,
)
from tests.fakes.inference_worker.requests import request

MEASURED: Final[dict[str, Any]] = orjson.loads(
    (Path(__file__).parents[2] / "support" / "measured_tokens.json").read_bytes()
)
"""Texts, and how many tokens the vocabularies of real models make of them."""
EYES: Final = Model("eyes", "sees", capabilities=("completion", "vision"))
PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="

texts = st.text(max_size=80)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    role: Role = draw(st.sampled_from(["system", "developer", "user", "assistant", "tool"]))
    content: str | list[ContentPart] = draw(texts)
    calls = None
    if role == "user" and draw(st.booleans()):
        images = [ContentPart(type="image_url", image_url=PIXEL)] * draw(st.integers(0, 3))
        content = [ContentPart(type="text", text=draw(texts)), *images]
    if role == "assistant" and draw(st.booleans()):
        arguments = draw(st.dictionaries(texts, values, max_size=3))
        function = FunctionCall(name=draw(texts), arguments=json.dumps(arguments))
        calls = [ToolCall(id=draw(texts), function=function)] * draw(st.integers(1, 3))
    return Message(
        role=role,
        content=content,
        tool_calls=calls,
        tool_call_id=draw(texts) if role == "tool" else None,
        thinking=draw(st.none() | texts) if role == "assistant" else None,
    )


@st.composite
def tools(draw: st.DrawFn) -> FunctionTool:
    parameters: dict[str, Any] = draw(st.dictionaries(texts, values, max_size=4))
    return FunctionTool(
        name=draw(texts), description=draw(st.none() | texts), parameters=parameters
    )


@pytest.mark.parametrize("script", MEASURED)
def test_no_script_is_fewer_tokens_than_a_vocabulary_makes_of_it(script: str) -> None:
    text, measured = MEASURED[script]["text"], MEASURED[script]["tokens"].values()
    assert max(measured) <= text_at_most(text)
    # From above, and not out of this world for who has only pressed "stop".
    assert text_at_most(text) <= 8 * min(measured)


@given(st.text(max_size=2000))
def test_no_text_is_fewer_tokens_than_the_demo_engine_counts(text: str) -> None:
    assert count_tokens(text) <= text_at_most(text)


letters = st.characters(categories=["L"], min_codepoint=0x80)


@given(st.text(letters, min_size=1, max_size=200))
def test_a_letter_outside_ascii_is_at_least_one_token_and_beyond_two_bytes_as_many_as_it_has(
    text: str,
) -> None:
    assert len(text) < text_at_most(text)
    # What a vocabulary without the character makes of it: its bytes.
    rare = "".join(letter for letter in text if ord(letter) >= 0x800)
    assert len(rare.encode()) < text_at_most(rare)


@given(texts, texts)
def test_more_text_is_never_fewer_tokens(first: str, second: str) -> None:
    assert max(text_at_most(first), text_at_most(second)) <= text_at_most(first + second)


@settings(max_examples=200)
@given(st.lists(messages(), min_size=1, max_size=4), st.lists(tools(), max_size=3))
def test_no_prompt_is_fewer_tokens_than_the_demo_engine_evaluates(
    said: list[Message], offered: list[FunctionTool]
) -> None:
    """With everything that the worker makes of it: tools, calls, images, names, all roles."""
    run = request(messages=said, tools=offered)
    asked = ChatRequest.model_validate_json(orjson.dumps(chat_body(run)))
    evaluated = evaluated_tokens(asked, EYES, SamplingOptions(num_ctx=10**6))
    assert evaluated <= prompt_at_most(said, offered, None)


def test_nothing_is_more_than_the_window_holds() -> None:
    said = [Message(role="user", content="word " * 10_000)]
    assert prompt_at_most(said, [], None) > 20_000
    assert prompt_at_most(said, [], 4096) == 4096
    assert prompt_at_most(said[:0], [], 4096) < 100


@given(st.text("aA é.是😀", min_size=80, max_size=200), st.integers(64, 140))
def test_a_window_that_is_full_is_not_counted_beyond(text: str, window: int) -> None:
    said = [Message(role="user", content=text)]
    assert prompt_at_most(said, [], window) == min(prompt_at_most(said, [], None), window)


def test_what_go_templates_write_as_six_characters_is_more_than_one_token() -> None:
    assert call_at_most("f", '{"a":"<<<<"}') - call_at_most("f", '{"a":"...."}') == 20


@pytest.mark.parametrize(
    ("text", "unseen"), [("plain", 0), ("über", 0), ("да", 0), ("是", 2), ("😀", 3), ("é是", 2)]
)
def test_a_character_may_have_taken_more_tokens_than_the_one_that_brought_it(
    text: str, unseen: int
) -> None:
    assert unseen_at_most(text) == unseen
