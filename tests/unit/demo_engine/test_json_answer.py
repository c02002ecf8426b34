"""Answers that fit a schema, and tool calls."""

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter

from deploy.local.demo_engine.chat_request import Message
from deploy.local.demo_engine.dice import Dice
from deploy.local.demo_engine.json_answer import SchemaAnswer
from deploy.local.demo_engine.models import find_model
from deploy.local.demo_engine.question import Question
from deploy.local.demo_engine.tool_answer import tool_calls


class Colour(Enum):
    """Schema: enum."""

    RED = "red"
    GREEN = "green"


class Address(BaseModel):
    """Schema: lengths and limits."""

    model_config = ConfigDict(extra="forbid")

    street: Annotated[str, MinLen(12), MaxLen(30)]
    zip_code: Annotated[int, Ge(10_000), Le(10_003)]


class Tree(BaseModel):
    """Schema: recursion."""

    name: str
    children: list["Tree"]
    parent: "Tree | None" = None


class Person(BaseModel):
    """Schema: everything else."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, MaxLen(3)]
    age: Annotated[int, Gt(17), Lt(100)]
    score: Annotated[float, Ge(0.25), Le(0.75)]
    even: Annotated[int, MultipleOf(2), Ge(3)]
    colour: Colour
    kind: Literal["person"]
    home: Address
    others: Annotated[list[Address], MinLen(1), MaxLen(1)]
    labels: dict[str, int]
    nickname: str | None = None
    unique: Annotated[set[int], MinLen(3)]
    pair: tuple[int, str]
    nothing: None
    either: int | Address
    anything: Any = None


@settings(max_examples=40)
@given(st.integers())
def test_values_fit_the_schemas_of_pydantic_models(seed: int) -> None:
    value = SchemaAnswer(Person.model_json_schema(), Dice(seed)).value()

    Person.model_validate(value)


@given(st.integers())
def test_recursive_schemas_come_to_an_end(seed: int) -> None:
    Tree.model_validate(SchemaAnswer(Tree.model_json_schema(), Dice(seed)).value())


@given(st.integers(-50, 50), st.integers(0, 50), st.sampled_from(["integer", "number"]))
def test_numbers_stay_between_their_limits(low: int, width: int, kind: str) -> None:
    schema = {"type": kind, "minimum": low, "maximum": low + width}

    assert low <= SchemaAnswer(schema, Dice(low, width)).value() <= low + width


@given(st.integers(0, 40), st.integers(0, 20))
def test_strings_have_a_length_between_their_limits(low: int, more: int) -> None:
    schema = {"type": "string", "minLength": low, "maxLength": low + more}

    assert low <= len(SchemaAnswer(schema, Dice(low, more)).value()) <= low + more


@pytest.mark.parametrize(
    ("schema", "adapter"),
    [
        ({"type": "boolean"}, TypeAdapter(bool)),
        ({"type": "null"}, TypeAdapter(None)),
        ({"const": 7}, TypeAdapter(Literal[7])),
        ({"enum": ["a", 1]}, TypeAdapter(Literal["a", 1])),
        ({"type": ["null", "integer"]}, TypeAdapter(int | None)),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, TypeAdapter(int | None)),
        ({"oneOf": [{"type": "string"}, {"type": "boolean"}]}, TypeAdapter(str | bool)),
        ({"allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": {"type": "integer"}}}, TypeAdapter(int)),
        ({"items": {"type": "string"}}, TypeAdapter(list[str])),
        ({"type": "string", "format": "date-time"}, TypeAdapter(str)),
        (
            {"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]},
            TypeAdapter(dict[str, int | str]),
        ),
        ({}, TypeAdapter(str)),
    ],
)
def test_common_schemas_get_a_value_of_their_type(
    schema: dict[str, Any], adapter: TypeAdapter[Any]
) -> None:
    value = SchemaAnswer(schema, Dice("seed")).value()

    adapter.validate_python(value, strict=True)


def test_the_same_dice_give_the_same_value() -> None:
    schema = Person.model_json_schema()

    values = [SchemaAnswer(schema, Dice(seed)).value() for seed in (1, 1, 2)]

    assert values[0] == values[1] != values[2]


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
ADD = {"type": "function", "function": {"name": "add_numbers", "description": "Add two numbers"}}


def asked(text: str, *more: Message) -> Question:
    model = find_model("demo-tools")
    assert model is not None
    return Question(model, [Message(role="user", content=text), *more], tools=[ADD, WEATHER])


def test_the_tool_whose_words_match_the_question_is_called_with_words_from_it() -> None:
    (call,) = tool_calls(asked("What is the weather in New York for 3 days?"), 0)

    assert call.name == "get_weather"
    assert call.arguments == {"city": "New York", "days": 3}


def test_a_question_that_matches_no_tool_calls_the_first() -> None:
    assert [call.name for call in tool_calls(asked("Hm?"), 0)] == ["add_numbers"]


def test_every_tool_that_is_named_is_called() -> None:
    calls = tool_calls(asked("Use get_weather and add_numbers"), 0)

    assert [(call.index, call.name) for call in calls] == [(0, "add_numbers"), (1, "get_weather")]


def test_after_a_tool_message_no_tool_is_called() -> None:
    assert not tool_calls(asked("weather?", Message(role="tool", content="rain")), 0)
