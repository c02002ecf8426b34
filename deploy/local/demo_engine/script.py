"""The text of an answer: what the engine says to a question.

Texts come in segments that a tokenizer may treat one by one: none ends with a space, and each but
the first begins with white space.
"""

import re
from collections.abc import Callable, Iterator

from deploy.local.demo_engine.dice import Dice
from deploy.local.demo_engine.images import image_facts
from deploy.local.demo_engine.phrases import CLOSINGS, OPENINGS, VARIANTS, sentence, story
from deploy.local.demo_engine.question import Question, excerpt

MOST_NUMBERS = 20_000
MOST_WORDS = 50_000
MOST_ITEMS = 100

_COUNT = re.compile(r"\bcount (?:from (\d{1,9}) )?(?:up )?to (\d{1,9})\b", re.IGNORECASE)
_WORDS = re.compile(r"\b(\d{1,6})[ -]words?\b", re.IGNORECASE)
_LIST = re.compile(r"\b(?:list|bullet points?)\b", re.IGNORECASE)
_ITEMS = re.compile(r"\b(\d{1,3})\b")
_CODE = re.compile(r"\b(?:code|function|script|program|snippet)\b", re.IGNORECASE)


def thoughts(question: Question, variant: int) -> Iterator[str]:
    """What a thinking model thinks before this answer; nothing if it is not to think."""
    if not question.think:
        return
    sentences = {"low": 0, "high": 4, "max": 8}.get(str(question.think), 2)
    dice = Dice(question.key, variant, "thoughts")
    starts = ("Let me see", "First", "Well", "To begin", "So", "Now", "Hm", "All right")
    yield f"{starts[variant]}: the user says “{question.excerpt}”."
    yield " I am a demo without a model, so I should say so and keep it short."
    for _ in range(sentences):
        yield f" {sentence(dice)}"


def content(question: Question, variant: int) -> Iterator[str]:
    """The words of variant ``variant`` of the answer, segment by segment."""
    dice = Dice(question.key, variant)
    numbers = _COUNT.search(question.text)
    if question.tool_results:
        yield from _on_tool_results(question, variant)
    elif numbers and question.tokens is None:
        yield from _counting(int(numbers[1] or 1), int(numbers[2]))
        yield f"\n\n{OPENINGS[variant]}"
    else:
        yield OPENINGS[variant]
        yield from _body(question)(question, dice)
    if question.tokens is not None:
        yield from story(dice)


def other_words(question: Question, prefix: str, dice: Dice) -> Iterator[str]:
    """A way to go on from words that are not the engine's own."""
    space = "" if not prefix or prefix[-1].isspace() else " "
    if prefix.rstrip()[-1:] in ("", ".", "!", "?", ":"):
        yield f"{space}From here Parley's demo engine goes on in its own words."
    else:
        yield f"{space}and here Parley's demo engine goes on in its own words."
    yield f" {sentence(dice)}"
    yield f" {sentence(dice)}"
    yield f" {dice.pick(CLOSINGS)}"
    if question.tokens is not None:
        yield from story(dice)


def _body(question: Question) -> Callable[[Question, Dice], Iterator[str]]:
    if question.model.sees and question.last_user.images:
        return _on_images
    if _WORDS.search(question.text):
        return _so_many_words
    if _CODE.search(question.text):
        return _code
    if _LIST.search(question.text):
        return _list
    return _plain


def _plain(question: Question, dice: Dice) -> Iterator[str]:
    yield f" {_asked(question)}"
    yield f" {sentence(dice)}"
    yield f" {dice.pick(CLOSINGS)}"


def _asked(question: Question) -> str:
    count = len(question.messages)
    seen = "one message" if count == 1 else f"{count} messages"
    if not question.text:
        return f"I saw {seen} in this conversation, and no words from you in the last one."
    return f"You wrote “{question.excerpt}”, and I saw {seen} in this conversation."


def _so_many_words(question: Question, dice: Dice) -> Iterator[str]:
    found = _WORDS.search(question.text)
    wanted = min(int(found[1]), MOST_WORDS) if found else 0
    yield f" Here are your {wanted} words:"
    for segment in story(dice):
        words = segment.split()
        if len(words) >= wanted:
            lead = segment[: len(segment) - len(segment.lstrip())]
            yield (lead + " ".join(words[:wanted])).rstrip(".,") + "." if wanted else " None."
            return
        wanted -= len(words)
        yield segment


def _counting(start: int, end: int) -> Iterator[str]:
    step = 1 if end >= start else -1
    numbers = range(start, end + step, step)[:MOST_NUMBERS]
    for number in numbers:
        lead = "" if number == start else " "
        yield f"{lead}{number}{'.' if number == numbers[-1] else ','}"


def _list(question: Question, dice: Dice) -> Iterator[str]:
    found = _ITEMS.search(question.text)
    items = min(max(1, int(found[1])), MOST_ITEMS) if found else 5
    yield f" {_asked(question)} A list, then:"
    yield "\n"
    for _ in range(items):
        yield f"\n- {sentence(dice)}"
    yield f"\n\n{dice.pick(CLOSINGS)}"


def _code(question: Question, dice: Dice) -> Iterator[str]:
    yield f" {_asked(question)} Some code, then:"
    yield "\n\n```python"
    yield "\ndef answer(question: str) -> str:"
    yield '\n    """Say what a demo can say."""'
    yield f'\n    remark = "{sentence(dice)}"'
    yield '\n    return f"You asked: {question}. {remark}"'
    yield "\n```"
    yield f"\n\n{dice.pick(CLOSINGS)}"


def _on_images(question: Question, dice: Dice) -> Iterator[str]:
    images = [image_facts(image) for image in question.last_user.images]
    count = "one image" if len(images) == 1 else f"{len(images)} images"
    yield f" {_asked(question)} You sent {count}:"
    yield "\n"
    for number, image in enumerate(images, 1):
        yield f"\n{number}. {image}"
    yield f"\n\n{dice.pick(CLOSINGS)}"


def _on_tool_results(question: Question, variant: int) -> Iterator[str]:
    yield OPENINGS[variant]
    for result in question.tool_results:
        name = f"The tool {result.tool_name}" if result.tool_name else "The tool"
        yield f" {name} returned: {excerpt(result.content) or 'nothing'}."
    yield f" That is what I have to say about “{question.excerpt}”."


assert len(OPENINGS) == len(CLOSINGS) == VARIANTS
