"""What a caller may use, and what a request does to the readings that it is counted by: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.api.limits.durations import duration_text
from services.api.limits.gcra import Level, Rate

Readings = Mapping[str, int]

REQUESTS: Final = "requests"
MINUTE_TOKENS: Final = "minute_tokens"
DAY_TOKENS: Final = "day_tokens"


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one caller; what is ``None`` or 0 is not limited."""

    meter: str
    """Whose readings count: a user's, or those of a key with a limit of its own."""
    slots: str
    """Whose running answers count."""
    concurrent: int = 0
    requests: Rate | None = None
    minute_tokens: Rate | None = None
    day_tokens: Rate | None = None

    @property
    def metered(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.requests or self.minute_tokens or self.day_tokens)

    @property
    def counts_tokens(self) -> bool:
        """Whether an answer's tokens matter."""
        return bool(self.minute_tokens or self.day_tokens)

    def token_rates(self) -> list[tuple[str, Rate]]:
        """The limits on tokens that there are, by the names of their readings."""
        rates = ((MINUTE_TOKENS, self.minute_tokens), (DAY_TOKENS, self.day_tokens))
        return [(name, rate) for name, rate in rates if rate is not None]


class Levels(NamedTuple):
    """What is left; ``None`` where nothing is limited."""

    requests: Level | None = None
    tokens: Level | None = None
    """Of the limit that is nearer."""


class Refusal(NamedTuple):
    """Why not, and for how long."""

    kind: str
    """``requests`` or ``tokens``."""
    message: str
    wait: int
    """Nanoseconds."""


class Verdict(NamedTuple):
    """What became of a request."""

    levels: Levels
    refusal: Refusal | None = None


def levels_of(quota: Quota, readings: Readings, now: int) -> Levels:
    """How the caller stands."""
    requests = quota.requests
    levels = [rate.level(readings.get(name, 0), now) for name, rate in quota.token_rates()]
    return Levels(
        requests.level(readings.get(REQUESTS, 0), now) if requests is not None else None,
        min(levels, key=lambda level: level.remaining, default=None),
    )


def admit(quota: Quota, readings: Readings, now: int, estimate: int) -> tuple[Readings, Verdict]:
    """Take one request and ``estimate`` tokens, or nothing at all."""
    refusal = _refusal(quota, readings, now)
    if refusal is not None:
        return readings, Verdict(levels_of(quota, readings, now), refusal)
    after = charge(quota, readings, now, tokens=estimate, requests=1)
    return after, Verdict(levels_of(quota, after, now))


def charge(
    quota: Quota, readings: Readings, now: int, *, tokens: int, requests: int = 0
) -> Readings:
    """Count what was used, whether it was allowed or not; negative numbers give back."""
    after = dict(readings)
    if quota.requests is not None and requests:
        after[REQUESTS] = quota.requests.taken(after.get(REQUESTS, 0), now, requests)
    for name, rate in quota.token_rates():
        if tokens:
            after[name] = rate.taken(after.get(name, 0), now, tokens)
    return after


def _refusal(quota: Quota, readings: Readings, now: int) -> Refusal | None:
    rates = [
        (REQUESTS, quota.requests, "requests", "start {} answers a minute"),
        (MINUTE_TOKENS, quota.minute_tokens, "tokens", "use {} tokens a minute"),
        (DAY_TOKENS, quota.day_tokens, "tokens", "use {} tokens a day"),
    ]
    refusals = [
        Refusal(kind, _sentence(what.format(rate.limit), wait), wait)
        for name, rate, kind, what in rates
        if rate is not None and (wait := rate.wait(readings.get(name, 0), now))
    ]
    return max(refusals, key=lambda refusal: refusal.wait, default=None)


def _sentence(what: str, wait: int) -> str:
    return f"Rate limit reached: you may {what}. Try again in {duration_text(wait)}."
