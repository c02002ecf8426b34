"""The arithmetic of a budget: what is added, what is not, and when nobody is believed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.limits.budget import (
    Account,
    Budget,
    account_of,
    closed,
    exhausted,
    needs_sum,
    opened,
    refusal,
    settled,
    summed,
)
from services.api.ports.budgets import Counter
from services.api.prices import Price, PriceTable, plus
from shared.contracts.ids import CompletionId, UserId

ANN = UserId("ann")
X, Y = CompletionId("chatcmpl-x"), CompletionId("chatcmpl-y")
LATER = 2_000_000_000
MICRO = Decimal("0.000001")
MONTH = Account(ANN, None, date(2026, 11, 1))


def test_a_month_begins_and_ends_in_utc_wherever_the_clock_is() -> None:
    in_kiribati = datetime.fromisoformat("2027-01-01T10:00:00+14:00")
    account = account_of(ANN, None, in_kiribati)
    assert (account.first, account.last) == (date(2026, 12, 1), date(2026, 12, 31))
    assert account.renewed_on == date(2027, 1, 1)
    leap = account_of(ANN, None, datetime(2028, 2, 29, 23, 59, tzinfo=UTC))
    assert (leap.first, leap.last) == (date(2028, 2, 1), date(2028, 2, 29))


@given(st.floats(1_600_000_000, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)))
def test_every_moment_is_in_its_month_and_its_counter_outlives_it(moment: datetime) -> None:
    account = account_of(ANN, None, moment)
    assert account.first <= moment.date() <= account.last < account.renewed_on
    over = moment + timedelta(seconds=account.lasts(moment))
    assert over.date() > account.renewed_on


def test_each_user_key_and_month_has_a_counter_of_its_own() -> None:
    accounts = [
        MONTH,
        MONTH._replace(key_id="k"),
        MONTH._replace(user_id=UserId("ann\0k")),
        MONTH._replace(first=date(2026, 12, 1)),
    ]
    keys = {account.key for account in accounts}
    assert len(keys) == len(accounts)
    assert all(set(key) <= set("0123456789abcdef.-") for key in keys)


def test_what_is_under_way_is_added_when_it_ends_and_only_then() -> None:
    counter = opened(opened(Counter(), X, LATER), Y, LATER)
    assert counter == Counter(open={X: LATER, Y: LATER})
    counter = settled(counter, X, 30, 3 * MICRO)
    assert (counter.tokens, counter.money, dict(counter.open)) == (30, 3 * MICRO, {Y: LATER})
    assert closed(counter, Y) == Counter(30, 3 * MICRO)
    assert not needs_sum(counter, LATER - 1)


def test_an_end_that_comes_twice_is_not_added_twice_but_makes_history_add_up() -> None:
    once = settled(opened(Counter(), X, LATER), X, 30, 3 * MICRO)
    twice = settled(once, X, 30, 3 * MICRO)
    assert (twice.tokens, twice.money) == (30, 3 * MICRO)
    assert needs_sum(twice, 0)
    # Whoever reads the sum at this moment must lose against it.
    assert settled(twice, X, 30, 3 * MICRO) != twice


def test_an_end_without_a_counter_does_not_make_one_that_is_believed() -> None:
    counter = settled(None, X, 30, 3 * MICRO)
    assert not counter.whole
    assert needs_sum(counter, 0)
    assert closed(None, X) is None


def test_a_sum_keeps_what_is_not_in_it_and_forgets_what_must_have_ended() -> None:
    before = Counter(1, MICRO, {X: LATER, Y: LATER, CompletionId("old"): 5}, doubts=3)
    after = summed(before, 70, 7 * MICRO, {Y}, now=10, lasts=60)
    assert after == Counter(70, 7 * MICRO, {X: LATER})
    assert not needs_sum(after, 10)


def test_a_first_sum_is_not_the_last_while_somebody_may_be_under_way_of_whom_nobody_knows() -> None:
    first = summed(Counter(whole=False), 70, 7 * MICRO, (), now=10.5, lasts=60)
    assert first == Counter(70, 7 * MICRO, again=71)
    assert not needs_sum(first, 71)
    assert needs_sum(first, 71.1)
    # One for a doubt, in between, is not instead of that.
    between = summed(replace(first, doubts=1), 80, 8 * MICRO, (), now=20, lasts=60)
    assert between == Counter(80, 8 * MICRO, again=71)
    last = summed(between, 90, 9 * MICRO, (), now=72, lasts=60)
    assert last == Counter(90, 9 * MICRO)


@pytest.mark.parametrize(
    "counter",
    [
        Counter(whole=False),
        Counter(doubts=1),
        Counter(open={X: 9}),
        Counter(again=9),
        Counter(open={CompletionId(str(n)): LATER for n in range(1001)}),
    ],
)
def test_what_may_be_wrong_is_not_believed(counter: Counter) -> None:
    assert needs_sum(counter, 10)


@pytest.mark.parametrize(
    ("budget", "used", "kinds"),
    [
        (Budget(tokens=10), Counter(tokens=9), []),
        (Budget(tokens=10), Counter(tokens=10), ["tokens"]),
        (Budget(money=Decimal("0.01")), Counter(tokens=10**9, money=Decimal("0.009999")), []),
        (Budget(money=Decimal("0.01")), Counter(money=Decimal("0.01")), ["money"]),
        (Budget(5, Decimal(1)), Counter(tokens=7, money=Decimal(2)), ["tokens", "money"]),
        (Budget(), Counter(tokens=10**12, money=Decimal(10**9)), []),
    ],
)
def test_a_budget_is_used_up_when_as_much_was_used(
    budget: Budget, used: Counter, kinds: list[str]
) -> None:
    assert exhausted(used, budget) == kinds


def test_a_refusal_says_whose_how_much_and_until_when() -> None:
    used = Counter(1012, Decimal("12.5"))
    budget = Budget(1000, Decimal("12.50"))
    assert refusal(MONTH, used, budget, "EUR", ["tokens"]) == (
        "Your budget of this month is used up: 1012 of 1000 tokens. "
        "It is renewed on 2026-12-01, UTC."
    )
    assert refusal(MONTH._replace(key_id="k"), used, budget, "EUR", ["tokens", "money"]) == (
        "This API key's budget of this month is used up: 1012 of 1000 tokens and "
        "12.500000 of 12.500000 EUR. It is renewed on 2026-12-01, UTC."
    )


prices = st.decimals(0, 1_000_000, places=6)
uses = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)), max_size=30)


@given(prices, prices, uses)
def test_added_one_by_one_or_all_at_once_money_is_the_same_to_the_last_digit(
    prompt: Decimal, completion: Decimal, used: list[tuple[int, int]]
) -> None:
    table = PriceTable((("*", Price(prompt, completion)),))
    one_by_one = Counter()
    for number, tokens in enumerate(used):
        name = CompletionId(str(number))
        cost = table.cost({"demo": tokens})
        one_by_one = settled(opened(one_by_one, name, LATER), name, sum(tokens), cost)
    whole = (sum(each for each, _ in used), sum(each for _, each in used))
    assert one_by_one == Counter(sum(whole), plus(Decimal(0), table.cost({"demo": whole})))


class Month:
    """A counter, and what has really ended."""

    def __init__(self) -> None:
        self.counter: Counter | None = None
        self.ended: set[CompletionId] = set()
        self._numbers = iter(range(1000))

    def open(self, _number: int) -> None:
        if self.counter is None or needs_sum(self.counter, 0):
            self.sum(0)
        assert self.counter is not None
        # Who is let in is let in by what has really been used.
        assert self.counter.tokens == 10 * len(self.ended)
        self.counter = opened(self.counter, CompletionId(str(next(self._numbers))), LATER)

    def end(self, number: int) -> None:
        name = self._one_of(number) or CompletionId(f"unknown-{number}")
        self.ended.add(name)
        self.counter = settled(self.counter, name, 10, MICRO)

    def again(self, number: int) -> None:
        if self.ended:
            name = sorted(self.ended)[number % len(self.ended)]
            self.counter = settled(self.counter, name, 10, MICRO)

    def close(self, number: int) -> None:
        self.counter = closed(self.counter, self._one_of(number) or X)

    def sum(self, _number: int) -> None:
        used = len(self.ended)
        before = self.counter or Counter(whole=False)
        self.counter = summed(before, 10 * used, used * MICRO, self.ended, now=0, lasts=60)

    def wipe(self, _number: int) -> None:
        self.counter = None

    def _one_of(self, number: int) -> CompletionId | None:
        names = sorted(self.counter.open) if self.counter is not None else []
        return names[number % len(names)] if names else None


steps = st.lists(
    st.tuples(
        st.sampled_from([Month.open, Month.end, Month.again, Month.close, Month.sum, Month.wipe]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_in_whatever_order_nothing_counts_twice(
    done: list[tuple[Callable[[Month, int], None], int]],
) -> None:
    month = Month()
    for step, number in done:
        step(month, number)
        counter = month.counter or Counter()
        assert counter.tokens <= 10 * len(month.ended)
        assert counter.money <= len(month.ended) * MICRO
    month.open(0)
