"""What an uninterrupted run says: the demo engine's own words, without running it."""

from deploy.local.demo_engine.answer import content_tokens, variant_of
from deploy.local.demo_engine.chat_request import Message, SamplingOptions
from deploy.local.demo_engine.directive import wishes_in_text
from deploy.local.demo_engine.models import find_model
from deploy.local.demo_engine.phrases import VARIANTS
from deploy.local.demo_engine.question import Question


def answers(text: str, *, model: str = "demo", seed: int | None = None) -> set[str]:
    """All answers that ``text`` may get: one with a seed, else one of a few."""
    found = find_model(model)
    assert found is not None
    question = Question(
        found, [Message(role="user", content=text)], tokens=wishes_in_text(text).tokens
    )
    chosen = range(VARIANTS)
    if seed is not None:
        variant = variant_of(question, SamplingOptions(seed=seed))
        chosen = range(variant, variant + 1)
    return {"".join(content_tokens(question, variant)) for variant in chosen}


def is_beginning(text: str, wholes: set[str]) -> bool:
    """Whether ``text`` is how one of ``wholes`` begins."""
    return any(whole.startswith(text) for whole in wholes)
