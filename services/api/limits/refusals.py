"""Refusals of callers that have used what they may."""

from services.api.limits.durations import duration_text
from services.api.limits.gcra import SECOND
from services.api.limits.quota import Levels, Refusal
from shared.errors import ChatError, RateLimited


class OverLimit(RateLimited):
    """Knows how the caller stands, so that its answer need not ask again."""

    def __init__(self, refusal: Refusal, levels: Levels | None) -> None:
        super().__init__(refusal.message, kind=refusal.kind, retry_after=refusal.wait / SECOND)
        self.levels = levels


class OverBudget(ChatError):
    """The month's budget is used up: no trying again helps before the next one begins."""

    code = "insufficient_quota"


def too_many_at_once(most: int, wait: int) -> Refusal:
    """All slots are held; nobody knows for how long."""
    running = "1 answer of yours is" if most == 1 else f"{most} answers of yours are"
    message = (
        f"Limit reached: {running} running, which is as many as may run at once. "
        f"Try again when one has ended."
    )
    return Refusal("requests", message, wait)


def too_many_others(limit: int, wait: int) -> Refusal:
    """Of what starts no answer."""
    message = (
        f"Rate limit reached: you may ask {limit} other things a minute. "
        f"Try again in {duration_text(wait)}."
    )
    return Refusal("requests", message, wait)
