"""What a request asks, apart from how fast and how faultily it wants the answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from deploy.local.demo_engine.chat_request import ChatRequest, Message, ThinkLevel
from deploy.local.demo_engine.directive import strip_directives
from deploy.local.demo_engine.models import Model

EXCERPT_WORDS = 9
EXCERPT_CHARACTERS = 60


@dataclass(frozen=True)
class Question:
    """All that the words of an answer depend on."""

    model: Model
    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] = ()
    format: Any = None
    think: bool | ThinkLevel = False
    tokens: int | None = None
    nonce: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """Digest of the model and the prompt; directives and a trailing answer do not change it."""
        hashed = hashlib.sha256(f"{self.model.name}\x1e{self.nonce}".encode())
        for message in self.messages:
            words = strip_directives(message.content)
            hashed.update(f"\x1e{message.role.lower()}\x1f{words}".encode())
            if message.tool_calls:
                hashed.update(orjson.dumps(message.tool_calls))
            for image in message.images:
                hashed.update(hashlib.sha256(image).digest())
        hashed.update(orjson.dumps([list(self.tools), self.format]))
        return hashed.hexdigest()

    @cached_property
    def last_user(self) -> Message:
        """The last message of the user; an empty one if there is none."""
        users = (message for message in reversed(self.messages) if message.role.lower() == "user")
        return next(users, Message(role="user"))

    @cached_property
    def text(self) -> str:
        """What the user said last, without directives."""
        return strip_directives(self.last_user.content)

    @cached_property
    def tool_results(self) -> Sequence[Message]:
        """The tool messages that end the conversation, in order; empty if another one ends it."""
        count = 0
        for message in reversed(self.messages):
            if message.role.lower() != "tool":
                break
            count += 1
        return self.messages[len(self.messages) - count :]

    @property
    def excerpt(self) -> str:
        """A few words of what the user said last."""
        return excerpt(self.text)


def excerpt(text: str) -> str:
    """The first words of ``text``, on one line, with "…" where more follow."""
    words = text[: EXCERPT_CHARACTERS * 8].split()
    short = " ".join(words[:EXCERPT_WORDS])[:EXCERPT_CHARACTERS].strip()
    whole = " ".join(words) == short and len(text) <= EXCERPT_CHARACTERS * 8
    return short if whole else f"{short} …"


def question_of(request: ChatRequest, model: Model, tokens: int | None, nonce: str) -> Question:
    """The question in ``request``; a thinking model thinks unless it is told not to."""
    think = request.think if request.think is not None else True
    return Question(
        model=model,
        messages=request.asked,
        tools=request.tools,
        format=request.format,
        think=think if model.thinks else False,
        tokens=tokens,
        nonce=nonce,
    )
