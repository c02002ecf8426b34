"""The whole answer to a question, and the rest of one that was broken off.

There are ``VARIANTS`` answers to each question. A seed or temperature 0 picks one for good; without
them the choice is free. Which one a broken-off answer belongs to is told by its words, so that
what was sent and what is sent now make one answer, word for word.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from deploy.local.demo_engine import script
from deploy.local.demo_engine.chat_request import Message, SamplingOptions
from deploy.local.demo_engine.dice import Dice
from deploy.local.demo_engine.json_answer import SchemaAnswer
from deploy.local.demo_engine.phrases import OPENINGS, VARIANTS
from deploy.local.demo_engine.question import Question
from deploy.local.demo_engine.tokenizer import count_tokens, tokens_of
from deploy.local.demo_engine.tool_answer import ToolCall, tool_calls


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: ``tokens`` tokens of thinking or content, or a whole tool call."""

    kind: Literal["thinking", "content", "tool_call"]
    text: str
    tokens: int = 1
    call: ToolCall | None = None


def variant_of(question: Question, options: SamplingOptions) -> int:
    """The variant that an uninterrupted run has: chosen by the seed, or freely."""
    if not options.deterministic:
        return secrets.randbelow(VARIANTS)
    seed = "greedy" if options.temperature == 0 else options.seed
    return Dice(question.key, seed).below(VARIANTS)


def whole_answer(question: Question, variant: int) -> Iterator[Piece]:
    """One variant of the answer from its beginning."""
    yield from _pieces("thinking", _joined(script.thoughts(question, variant)))
    yield from after_thinking(question, variant)


def after_thinking(question: Question, variant: int) -> Iterator[Piece]:
    """One variant of the answer without its thinking."""
    calls = tool_calls(question, variant)
    for call in calls:
        spoken = json.dumps([call.name, call.arguments], ensure_ascii=False)
        yield Piece("tool_call", "", count_tokens(spoken), call)
    if not calls:
        yield from _pieces("content", content_tokens(question, variant))


def rest_of_answer(question: Question, variant: int, prefill: Message) -> Iterator[Piece]:
    """What follows ``prefill``, the answer so far.

    Args:
        question: what the answer is to.
        variant: the variant to prefer where the words fit several.
        prefill: a trailing assistant message; if it has content, its thinking is over.
    """
    variants = [variant, *(other for other in range(VARIANTS) if other != variant)]
    if not prefill.content:
        for candidate in variants:
            thoughts = _joined(script.thoughts(question, candidate))
            rest = _after(prefill.thinking, thoughts)
            if rest is not None:
                return chain(_pieces("thinking", rest), after_thinking(question, candidate))
        return after_thinking(question, variant)
    if question.model.continuation == "exact":
        for candidate in variants:
            rest = _after(prefill.content, content_tokens(question, candidate))
            if rest is not None:
                return _pieces("content", rest)
    dice = Dice(question.key, variant, "other words")
    other = _joined(script.other_words(question, prefill.content, dice))
    return _pieces("content", _so_many(other, question.tokens))


def content_tokens(question: Question, variant: int) -> Iterator[str]:
    """The content of one variant, token by token."""
    if question.format:
        return tokens_of(_json_text(question, variant))
    segments = script.content(question, variant)
    if question.model.continuation == "diverging":
        segments = chain([f"Telling {question.nonce}:", "\n\n"], segments)
    return _so_many(_joined(segments), question.tokens)


def _json_text(question: Question, variant: int) -> str:
    dice = Dice(question.key, variant, "json")
    if isinstance(question.format, dict):
        value = SchemaAnswer(question.format, dice).value()
    else:
        value = {
            "answer": OPENINGS[variant],
            "question": question.excerpt,
            "messages": len(question.messages),
            "demo": True,
        }
    return json.dumps(value, ensure_ascii=False)


def _joined(segments: Iterable[str]) -> Iterator[str]:
    return chain.from_iterable(tokens_of(segment) for segment in segments)


def _so_many(tokens: Iterator[str], wanted: int | None) -> Iterator[str]:
    """The first ``wanted`` tokens, the last one changed so that a sentence ends there."""
    if wanted is None:
        yield from tokens
        return
    before = ""
    for token in islice(tokens, wanted - 1):
        before = token
        yield token
    last = next(tokens, ".")
    yield "." if before.strip()[-1:].isalnum() else last


def _after(prefix: str, tokens: Iterator[str]) -> Iterator[str] | None:
    """The tokens that follow ``prefix`` in the text of ``tokens``; None if it begins otherwise."""
    at = 0
    for token in tokens:
        if at == len(prefix):
            return chain([token], tokens)
        if not prefix.startswith(token, at):
            if not token.startswith(prefix[at:]):
                return None
            return chain(tokens_of(token[len(prefix) - at :]), tokens)
        at += len(token)
    return iter(()) if at == len(prefix) else None


def _pieces(kind: Literal["thinking", "content"], tokens: Iterable[str]) -> Iterator[Piece]:
    return (Piece(kind, token) for token in tokens)
