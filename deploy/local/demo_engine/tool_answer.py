"""Which tools a question calls for, and with which arguments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.local.demo_engine.dice import Dice
from deploy.local.demo_engine.json_answer import SchemaAnswer
from deploy.local.demo_engine.question import Question

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\b\d{1,9}\b")
_NAME = re.compile(r"(?<=[^\W\d_] )[A-Z][^\W\d_]{2,}(?: [A-Z][^\W\d_]{2,})*")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SMALL_WORDS = frozenset({"the", "and", "for", "with", "what", "that", "this", "get", "use", "you"})


@dataclass(frozen=True)
class ToolCall:
    """One call of one tool; ``arguments`` fit the tool's schema."""

    id: str
    index: int
    name: str
    arguments: Mapping[str, Any]

    def on_the_wire(self) -> dict[str, Any]:
        """As Ollama writes it."""
        return {
            "id": self.id,
            "function": {
                "index": self.index,
                "name": self.name,
                "arguments": dict(self.arguments),
            },
        }


def tool_calls(question: Question, variant: int) -> Sequence[ToolCall]:
    """The calls that answer the question: none unless a user asks and there are tools.

    One call for each tool that the user names; if none is named, one call of the tool whose name
    and description share most words with the question, or else of the first.
    """
    ends_with_user = bool(question.messages) and question.messages[-1].role.lower() == "user"
    tools = [tool["function"] for tool in question.tools if _is_function(tool)]
    if not ends_with_user or not tools:
        return ()
    named = [tool for tool in tools if _names(question.text, str(tool["name"]))]
    chosen = named or [max(tools, key=lambda tool: _shared_words(question.text, tool))]
    return [_call(question, variant, index, tool) for index, tool in enumerate(chosen)]


def _is_function(tool: Mapping[str, Any]) -> bool:
    function = tool.get("function")
    return isinstance(function, Mapping) and bool(function.get("name"))


def _names(text: str, name: str) -> bool:
    spoken = name.replace("_", " ").replace("-", " ")
    return any(re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE) for form in (name, spoken))


def _shared_words(text: str, tool: Mapping[str, Any]) -> int:
    about = f"{tool['name']} {tool.get('description') or ''}".replace("_", " ")
    return len((_words(text) & _words(about)) - _SMALL_WORDS)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text) if len(word) > 2}


def _call(question: Question, variant: int, index: int, tool: Mapping[str, Any]) -> ToolCall:
    dice = Dice(question.key, variant, "tool", index)
    words = _NAME.findall(question.text) or _WORD.findall(question.text)[-1:]
    schema = tool.get("parameters") or {}
    answer = SchemaAnswer(
        {"type": "object", **schema} if isinstance(schema, Mapping) else {"type": "object"},
        dice,
        words=words,
        numbers=[int(number) for number in _NUMBER.findall(question.text)],
    ).value()
    return ToolCall(
        id="call_" + "".join(dice.pick(_LETTERS) for _ in range(8)),
        index=index,
        name=str(tool["name"]),
        arguments=answer if isinstance(answer, dict) else {},
    )
