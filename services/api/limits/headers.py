"""OpenAI's headers about limits: pure."""

from services.api.limits.durations import duration_text
from services.api.limits.quota import Levels

RATE_HEADERS = tuple(
    f"x-ratelimit-{what}-{kind}"
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)


def rate_headers(levels: Levels) -> dict[str, str]:
    """Three for each kind that is limited."""
    headers = {}
    for kind, level in (("requests", levels.requests), ("tokens", levels.tokens)):
        if level is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(level.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(level.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = duration_text(level.reset)
    return headers
