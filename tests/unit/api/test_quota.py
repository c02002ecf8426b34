"""One request against all the limits of its caller: everything is counted, or nothing."""

from functools import partial

from services.api.limits.gcra import DAY, HOUR, MINUTE, SECOND, Rate
from services.api.limits.headers import rate_headers
from services.api.limits.quota import Quota, Readings, admit, charge, levels_of

NOW = 1_795_000_000 * SECOND
REQUESTS = Rate(2, MINUTE)
TOKENS = Rate(1000, MINUTE, HOUR)
DAILY = Rate(3000, DAY, DAY)


quota = partial(Quota, meter="m", slots="s")


def test_the_headers_say_what_is_left_as_openai_does() -> None:
    both = quota(requests=REQUESTS, minute_tokens=TOKENS)
    _, verdict = admit(both, {}, NOW, estimate=250)
    assert rate_headers(verdict.levels) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "30s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "750",
        "x-ratelimit-reset-tokens": "15s",
    }
    assert rate_headers(levels_of(quota(), {}, NOW)) == {}


def test_a_refusal_counts_nothing_and_names_the_longest_wait() -> None:
    both = quota(requests=REQUESTS, minute_tokens=TOKENS)
    readings: Readings = {}
    for _ in range(2):
        readings, verdict = admit(both, readings, NOW, estimate=750)
        assert verdict.refusal is None
    after, verdict = admit(both, readings, NOW, estimate=1)
    assert after == readings
    assert verdict.refusal is not None
    # 500 tokens of debt are paid off in 30 s, and one more is earned in 60 ms.
    assert (verdict.refusal.kind, verdict.refusal.wait) == ("tokens", 30_060_000_000)
    assert verdict.refusal.message == (
        "Rate limit reached: you may use 1000 tokens a minute. Try again in 30.06s."
    )


def test_tokens_are_refused_in_debt_alone_however_long_the_prompt() -> None:
    only = quota(minute_tokens=TOKENS)
    readings, verdict = admit(only, {}, NOW, estimate=5000)
    assert verdict.refusal is None
    _, verdict = admit(only, readings, NOW, estimate=1)
    assert verdict.refusal is not None
    assert levels_of(only, readings, NOW).tokens == (1000, 0, 5 * MINUTE)


def test_the_tokens_that_were_used_take_the_place_of_the_estimate() -> None:
    only = quota(minute_tokens=TOKENS)
    readings, _ = admit(only, {}, NOW, estimate=300)
    more = levels_of(only, charge(only, readings, NOW, tokens=700 - 300), NOW).tokens
    less = levels_of(only, charge(only, readings, NOW, tokens=100 - 300), NOW).tokens
    assert more is not None
    assert less is not None
    assert (more.remaining, less.remaining) == (300, 900)


def test_the_headers_tell_of_the_limit_on_tokens_that_is_nearer() -> None:
    both = quota(minute_tokens=TOKENS, day_tokens=DAILY)
    readings = charge(both, {}, NOW, tokens=900)
    assert levels_of(both, readings, NOW).tokens == TOKENS.level(readings["minute_tokens"], NOW)
    readings = charge(both, readings, NOW + 10 * MINUTE, tokens=0)
    for minute in (10, 20):
        readings = charge(both, readings, NOW + minute * MINUTE, tokens=1000)
    later = NOW + 30 * MINUTE
    assert levels_of(both, readings, later).tokens == DAILY.level(readings["day_tokens"], later)


def test_a_day_of_tokens_is_counted_beside_the_minute() -> None:
    both = quota(minute_tokens=TOKENS, day_tokens=DAILY)
    readings: Readings = {}
    refusal = None
    for minute in range(5):
        readings, verdict = admit(both, readings, NOW + minute * MINUTE, estimate=1000)
        refusal = verdict.refusal
    assert refusal is not None
    assert refusal.message.startswith("Rate limit reached: you may use 3000 tokens a day.")
