"""The rate: never more than it allows in any stretch of time, never less than it promises."""

from hypothesis import given
from hypothesis import strategies as st

from services.api.limits.durations import duration_text, milliseconds_of
from services.api.limits.gcra import HOUR, MINUTE, SECOND, Rate

NOW = 1_795_000_000 * SECOND
TWENTY = Rate(20, MINUTE)

rates = st.builds(
    Rate,
    limit=st.integers(1, 1_000_000),
    period=st.sampled_from([SECOND, MINUTE, 24 * HOUR]),
)
pauses = st.lists(st.integers(0, 2 * MINUTE), min_size=1, max_size=60)


def admitted(rate: Rate, moments: list[int]) -> list[int]:
    """At which of these moments one more is taken."""
    reading, found = 0, []
    for moment in moments:
        if not rate.wait(reading, moment):
            reading = rate.taken(reading, moment)
            found.append(moment)
    return found


def moments_of(gaps: list[int]) -> list[int]:
    moment, found = NOW, []
    for gap in gaps:
        moment += gap
        found.append(moment)
    return found


def test_twenty_at_one_moment_are_exactly_twenty_and_then_one_each_three_seconds() -> None:
    assert len(admitted(TWENTY, [NOW] * 200)) == 20
    later = [NOW] * 20 + [NOW + tenth * SECOND // 10 for tenth in range(601)]
    assert admitted(TWENTY, later)[20:] == [NOW + 3 * SECOND * n for n in range(1, 21)]


@given(rates.filter(lambda rate: rate.limit <= 1000), pauses)
def test_no_stretch_of_time_has_more_than_the_limit_and_what_it_earns(
    rate: Rate, gaps: list[int]
) -> None:
    found = admitted(rate, moments_of(gaps))
    for first, begun in enumerate(found):
        for last, ended in enumerate(found[first:], start=first):
            assert last - first + 1 <= rate.limit + (ended - begun) // rate.interval


@given(rates, st.integers(0, 2_000_000), st.integers(0, 2 * HOUR))
def test_what_remains_is_what_can_be_taken(rate: Rate, used: int, later: int) -> None:
    reading = rate.taken(0, NOW, used)
    level = rate.level(reading, NOW + later)
    if level.remaining:
        rest = rate.taken(reading, NOW + later, level.remaining - 1)
        assert rate.wait(rest, NOW + later) == 0
    full = rate.taken(reading, NOW + later, level.remaining)
    assert rate.wait(full, NOW + later) > 0


@given(rates, st.integers(0, 2_000_000))
def test_who_waits_as_long_as_was_said_is_served_and_no_moment_sooner(
    rate: Rate, used: int
) -> None:
    reading = rate.taken(0, NOW, used)
    wait = rate.wait(reading, NOW)
    assert rate.wait(reading, NOW + wait) == 0
    if wait:
        assert rate.wait(reading, NOW + wait - 1) == 1


@given(rates, st.integers(0, 1000), st.integers(1, 1000), st.integers(0, MINUTE))
def test_what_is_given_back_was_never_taken(
    rate: Rate, before: int, count: int, later: int
) -> None:
    reading = rate.taken(0, NOW, min(before, rate.limit))
    count = min(count, rate.level(reading, NOW).remaining)
    back = rate.taken(rate.taken(reading, NOW, count), NOW, -count)
    assert rate.level(back, NOW + later) == rate.level(reading, NOW + later)


@given(rates, st.integers(0, 50), st.integers(0, HOUR))
def test_giving_back_what_is_earned_already_gives_nothing(
    rate: Rate, count: int, later: int
) -> None:
    reading = rate.taken(0, NOW)
    after = NOW + rate.window + later
    back = rate.taken(rate.taken(reading, after, -count), after)
    assert rate.level(back, after).remaining == rate.limit - 1


@given(rates, st.integers(0, 100 * HOUR))
def test_a_clock_that_is_fast_makes_nobody_wait_longer_than_a_full_window(
    rate: Rate, ahead: int
) -> None:
    reading = 0
    for _ in range(3):
        reading = rate.taken(reading, NOW + ahead)
    assert rate.wait(reading, NOW) <= rate.interval
    assert rate.level(reading, NOW).reset <= rate.window


@given(st.integers(1, 10**7), st.integers(0, 10**9))
def test_debts_are_paid_off_and_end(limit: int, used: int) -> None:
    rate = Rate(limit, MINUTE, HOUR)
    reading = rate.taken(0, NOW, used)
    assert rate.level(reading, NOW).remaining == max(0, limit - used)
    assert rate.wait(reading, NOW) <= HOUR + rate.interval


def test_durations_read_as_openai_writes_them_and_are_never_too_short() -> None:
    texts = {
        0: "0s",
        1: "1ms",
        120_000_000: "120ms",
        999_000_001: "1s",
        2_957_000_000: "2.957s",
        3 * SECOND: "3s",
        59_999_999_999: "1m0s",
        90 * SECOND: "1m30s",
        90 * SECOND + 1: "1m31s",
        HOUR: "1h0m0s",
    }
    assert {value: duration_text(value) for value in texts} == texts
    assert milliseconds_of(1) == 1
