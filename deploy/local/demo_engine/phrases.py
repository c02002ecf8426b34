"""The words the engine speaks with: openings, remarks, and sentences without end."""

from collections.abc import Iterator

from deploy.local.demo_engine.dice import Dice

VARIANTS = 8
"""How many different answers there are to one question."""

# One for each variant, different from the first words on: a prefix tells which variant it is of.
OPENINGS = (
    "Hello! I am Parley's demo engine, a small server without a language model.",
    "This is Parley's demo engine speaking; there is no language model behind these words.",
    "You have reached the demo engine of Parley, which answers without a language model.",
    "Parley's demo engine here: I can stream text, but I am not a language model.",
    "Greetings from Parley's demo engine. No language model took part in this answer.",
    "A word first: this text comes from Parley's demo engine, not from a language model.",
    "Nobody is thinking here; I am Parley's demo engine, and I have no language model.",
    "What you read is written by Parley's demo engine, a program without a language model.",
)

CLOSINGS = (
    "Start Ollama, and a real model will answer in my place.",
    "With Ollama running, a real model would take over from here.",
    "Every word came through the same queue as a real answer would.",
    "The stream you just saw is real, even if the wisdom is not.",
    "You may stop me, reload the page or ask again; that works as with a real model.",
    "Ask me for a list, for some code, or to count to twenty.",
    "For a real answer, point Parley at an engine that has a model.",
    "Try asking for 300 words if you would like to watch a longer stream.",
)

_ADJECTIVES = (
    "quiet", "patient", "silver", "narrow", "early", "warm", "distant", "careful", "green", "old",
    "bright", "gentle", "curious", "heavy", "northern", "plain", "sudden", "hidden",
)  # fmt: skip
_NOUNS = (
    "river", "lantern", "letter", "harbour", "bridge", "clock", "garden", "messenger", "bell",
    "ferry", "mountain", "window", "orchard", "signal", "traveller", "market", "kite", "library",
)  # fmt: skip
_VERBS = (
    "follows", "remembers", "crosses", "carries", "waits for", "answers", "passes", "finds",
    "greets", "leaves", "watches", "outlasts",
)  # fmt: skip
_ENDINGS = (
    "before the morning comes", "without losing a word", "on the other side of the valley",
    "while the queue is short", "one step after another", "as it did the day before",
    "under a clear sky", "until somebody asks it to stop", "and nobody minds the delay",
    "in the order it was sent", "long after the rain has gone", "with time to spare",
)  # fmt: skip


def sentence(dice: Dice) -> str:
    """One readable sentence; there are some millions of them."""
    subject = f"the {dice.pick(_ADJECTIVES)} {dice.pick(_NOUNS)} {dice.pick(_VERBS)}"
    thing = f"the {dice.pick(_ADJECTIVES)} {dice.pick(_NOUNS)}"
    ending = dice.pick(_ENDINGS)
    match dice.below(3):
        case 0:
            text = f"{subject} {thing} {ending}."
        case 1:
            text = f"{ending.removeprefix('and ')}, {subject} {thing}."
        case _:
            text = f"{subject} {thing}, {ending}."
    return text[0].upper() + text[1:]


def story(dice: Dice) -> Iterator[str]:
    """Sentences without end, in paragraphs; each begins with the space that sets it apart."""
    while True:
        yield f"\n\n{sentence(dice)}"
        for _ in range(3 + dice.below(4)):
            yield f" {sentence(dice)}"
