"""Gateways that charge the same budget: whatever is lost between them, it is counted once."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.access.caller import Allowance, Caller
from services.api.background import Background
from services.api.limits.bill import Bill
from services.api.limits.budget import Budget, account_of
from services.api.limits.budgets import Budgets
from services.api.limits.refusals import OverBudget
from services.api.ports.budgets import Counter, HeldCounter
from services.api.prices import Price, PriceTable
from shared.contracts.chat import CompletionStatus, Usage
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.questions import Q, Question, R
from shared.contracts.usage import Spent, SpentQuery
from shared.errors import BrokerUnavailable, HistoryUnavailable
from tests.fakes.api.budgets import FakeCounters
from tests.fakes.api.history import NOON

ANN: Final = Caller(UserId("ann"))
BOB: Final = UserId("bob")
EVE: Final = UserId("eve")
PRICES: Final = PriceTable((("*", Price(Decimal("0.15"), Decimal("0.6"))),))
LASTS: Final = 60.0
HUNDRED: Final = Budget(tokens=100)


class Clock:
    def __init__(self) -> None:
        self.moment = NOON

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def now(self) -> datetime:
        return self.moment


class Ledger:
    """History: what was published before it is asked is in its sum."""

    def __init__(self, pause: Callable[[], int] = lambda: 0) -> None:
        self.ends: list[CompletionCompleted] = []
        self.asked = 0
        self.away = False
        self._pause = pause

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        assert isinstance(query, SpentQuery)
        self.asked += 1
        await rest(self._pause())
        if self.away:
            raise HistoryUnavailable("history is away")
        spent = self.spent(query)
        await rest(self._pause())
        return cast("R", spent)

    def spent(self, query: SpentQuery) -> Spent:
        ends = [
            end
            for end in self.ends
            if end.user_id == query.user_id
            and query.key_id in (None, end.key_id)
            and query.first <= end.created_at.date() <= query.last
        ]
        usages = [end.usage for end in ends if end.usage is not None]
        prompt = sum(usage.prompt_tokens for usage in usages)
        completion = sum(usage.completion_tokens for usage in usages)
        ended = {end.completion_id for end in ends} & set(query.open)
        models = {"demo": (prompt, completion)}
        return Spent(tokens=prompt + completion, models=models, ended=sorted(ended))


async def rest(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class Shaky(FakeCounters):
    """A broker that takes its time, and whose answers may be lost, after it has done it or not."""

    def __init__(self, chance: random.Random, trouble: float) -> None:
        super().__init__()
        self.trouble = trouble
        self._chance = chance

    async def get(self, key: str) -> HeldCounter | None:
        await rest(self._chance.randrange(4))
        self._perhaps()
        return await super().get(key)

    async def set(self, key: str, counter: Counter, revision: int | None, ttl: float) -> bool:
        await rest(self._chance.randrange(4))
        self._perhaps()
        done = await super().set(key, counter, revision, ttl)
        await rest(self._chance.randrange(4))
        self._perhaps()
        return done

    def _perhaps(self) -> None:
        if self._chance.random() < self.trouble:
            raise BrokerUnavailable("lost")


class Scene:
    """Gateways over one broker and one history."""

    def __init__(self, store: FakeCounters, ledger: Ledger, budget: Budget) -> None:
        self.store, self.ledger, self.clock = store, ledger, Clock()
        self.background = Background()
        self.gateways = [
            Budgets(
                store,
                ledger,
                self.clock,
                self.background,
                prices=PRICES,
                currency="USD",
                of_each_user=budget,
                of_users={BOB: Budget(tokens=1000), EVE: Budget()},
                lasts=LASTS,
            )
            for _ in range(3)
        ]
        self._numbers = iter(range(10**6))

    def bill(self, caller: Caller = ANN, *, at: int = 0) -> tuple[Bill, CompletionId]:
        name = CompletionId(f"chatcmpl-{next(self._numbers)}")
        budgets = self.gateways[at]
        accounts = budgets.accounts(caller, self.clock.now())
        return Bill(budgets, accounts, name, self.background), name

    def end(
        self, name: CompletionId, tokens: int = 10, caller: Caller = ANN, **changes: object
    ) -> CompletionCompleted:
        """Published: history has it from here on."""
        said = min(tokens, 3)
        usage = Usage(prompt_tokens=tokens - said, completion_tokens=said, total_tokens=tokens)
        end = CompletionCompleted(
            completion_id=name,
            user_id=caller.user_id,
            key_id=caller.key_id,
            model="demo:latest",
            status=CompletionStatus.COMPLETED,
            created_at=self.clock.now(),
            completed_at=self.clock.now(),
            usage=usage,
        ).model_copy(update=changes)
        self.ledger.ends.append(end)
        return end

    async def answer(self, tokens: int = 10, caller: Caller = ANN, *, at: int = 0) -> None:
        bill, name = self.bill(caller, at=at)
        await bill.open()
        await bill.charge(self.end(name, tokens, caller))

    async def used(self, caller: Caller = ANN, *, at: int = 0) -> list[tuple[int, Decimal]]:
        lines = await self.gateways[at].look(caller)
        return [(line.used.tokens, line.used.money) for line in lines]


def scene(budget: Budget = HUNDRED) -> Scene:
    return Scene(FakeCounters(), Ledger(), budget)


async def test_an_answer_that_began_in_time_is_finished_and_the_next_one_is_refused() -> None:
    three = scene()
    await three.answer(99, at=0)
    bill, name = three.bill(at=1)
    beside, _ = three.bill(at=2)
    # Nobody knows before the end what these cost.
    await bill.open()
    await beside.open()
    await bill.charge(three.end(name, 500))
    for at in range(3):
        late, _ = three.bill(at=at)
        with pytest.raises(OverBudget, match="599 of 100 tokens"):
            await late.open()
    assert await three.used() == [(599, PRICES.cost({"demo": (593, 6)}))]
    # Once, for a counter that was not there.
    assert three.ledger.asked == 1


async def test_money_runs_out_at_the_price_of_the_moment_at_which_an_answer_ends() -> None:
    three = scene(Budget(money=Decimal("0.00001")))
    await three.answer(20)
    assert await three.used() == [(20, Decimal("0.00000435"))]
    await three.answer(40, at=1)
    late, _ = three.bill(at=2)
    with pytest.raises(OverBudget, match=r"0\.000012 of 0\.000010 USD"):
        await late.open()


async def test_the_first_of_the_next_month_begins_from_nothing() -> None:
    three = scene()
    await three.answer(100)
    three.clock.moment = datetime.fromisoformat(
        f"{account_of(ANN.user_id, None, NOON).renewed_on}T00:00:00+00:00"
    )
    assert await three.used() == [(0, Decimal(0))]
    await three.answer(5)
    assert await three.used(at=2) == [(5, PRICES.cost({"demo": (2, 3)}))]


async def test_an_answer_belongs_to_the_month_in_which_it_was_asked_for() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    end = three.end(name, 60)
    before = await three.gateways[0].look(ANN)
    three.clock.moment += timedelta(days=32)
    await bill.charge(end)
    assert await three.used() == [(0, Decimal(0))]
    held = await three.store.get(before[0].account.key)
    assert held is not None
    assert held.counter.tokens == 60


async def test_a_key_has_a_budget_beside_that_of_its_user() -> None:
    three = scene()
    key = Caller(ANN.user_id, key_id="k", allowance=Allowance(tokens_per_month=50))
    other = Caller(ANN.user_id, key_id="other")
    await three.answer(50, key)
    late, name = three.bill(key)
    with pytest.raises(OverBudget, match="This API key's budget"):
        await late.open()
    await late.give_back(surely=True)
    assert [line.used.open for line in await three.gateways[0].look(key)] == [{}, {}]
    # The user's is shared by all keys, and nothing of it was used by what was refused.
    await three.answer(49, other)
    assert [tokens for tokens, _ in await three.used(key)] == [99, 50]
    await three.answer(1, other)
    for caller in (key, other, ANN):
        late, _ = three.bill(caller)
        with pytest.raises(OverBudget, match="Your budget"):
            await late.open()
    assert name not in {end.completion_id for end in three.ledger.ends}


async def test_a_user_may_have_another_month_than_all_others_beside_that_of_a_key() -> None:
    three = scene(HUNDRED)
    key = Caller(BOB, key_id="k", allowance=Allowance(tokens_per_month=600))
    await three.answer(500, Caller(BOB))
    await three.answer(600, key, at=1)
    late, _ = three.bill(key)
    with pytest.raises(OverBudget, match="Your budget of this month is used up: 1100 of 1000"):
        await late.open()
    await late.give_back(surely=True)
    await three.answer(100)
    assert [line.budget.tokens for line in await three.gateways[2].look(key)] == [1000, 600]
    late, _ = three.bill(ANN)
    with pytest.raises(OverBudget, match="100 of 100"):
        await late.open()
    # Who is named with nothing is not bounded.
    await three.answer(10**9, Caller(EVE))
    await three.answer(1, Caller(EVE))
    assert await three.used(Caller(EVE)) == []


async def test_who_has_no_budget_costs_the_broker_and_history_nothing() -> None:
    three = scene(Budget())
    three.store.away = three.ledger.away = True
    await three.answer(10**9)
    assert await three.used() == []
    assert three.store.reads == 0


async def test_strangers_write_nothing_that_is_kept_for_a_month() -> None:
    three = scene(HUNDRED)
    stranger = Caller(UserId("anonymous-1"), anonymous=True)
    await three.answer(10**6, stranger)
    await three.answer(1, stranger)
    assert await three.used(stranger) == []
    assert three.store.entries == {}


async def test_a_counter_that_was_wiped_is_added_up_again_with_what_is_under_way() -> None:
    three = scene()
    await three.answer(30)
    bill, name = three.bill(at=1)
    await bill.open()
    three.store.entries.clear()
    assert await three.used(at=2) == [(30, PRICES.cost({"demo": (27, 3)}))]
    # It is not known to the new counter, so it is not added, but asked for.
    await bill.charge(three.end(name, 20))
    assert [tokens for tokens, _ in await three.used()] == [50]
    asked = three.ledger.asked
    await three.answer(7, at=2)
    assert [tokens for tokens, _ in await three.used()] == [57]
    assert three.ledger.asked == asked


async def test_an_end_that_comes_between_a_sum_and_its_counter_is_in_it_once() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    three.store.entries.clear()
    ask = three.ledger.ask

    async def ended_meanwhile(question: Question[Q, R], query: Q) -> R:
        spent = await ask(question, query)
        three.ledger.ask = ask  # type: ignore[method-assign]
        await bill.charge(three.end(name, 20))
        return spent

    three.ledger.ask = ended_meanwhile  # type: ignore[method-assign]
    assert [tokens for tokens, _ in await three.used(at=1)] == [20]


async def test_a_counter_that_is_lost_twice_during_one_sum_is_not_set_to_what_it_was_between() -> (
    None
):
    three = scene()
    await three.answer(10)
    three.store.entries.clear()
    ask = three.ledger.ask

    async def lost_again(question: Question[Q, R], query: Q) -> R:
        spent = await ask(question, query)
        three.ledger.ask = ask  # type: ignore[method-assign]
        # Another gateway adds up, lets an answer in, and charges it; and all of that is lost, too.
        await three.answer(20, at=1)
        three.store.entries.clear()
        return spent

    three.ledger.ask = lost_again  # type: ignore[method-assign]
    assert [tokens for tokens, _ in await three.used()] == [30]


async def test_what_was_under_way_in_a_lost_counter_is_added_though_nobody_says_so() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    three.store.entries.clear()
    assert [tokens for tokens, _ in await three.used(at=1)] == [0]
    # Its gateway dies, and no counter knows of it.
    three.end(name, 80)
    assert [tokens for tokens, _ in await three.used(at=1)] == [0]
    three.clock.moment += timedelta(seconds=LASTS + 2)
    assert [tokens for tokens, _ in await three.used(at=1)] == [80]
    asked = three.ledger.asked
    three.clock.moment += timedelta(hours=1)
    await three.used(at=2)
    assert three.ledger.asked == asked


async def test_what_a_dead_gateway_has_left_is_added_when_it_must_have_ended() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    three.end(name, 80)
    await three.answer(10, at=1)
    assert [tokens for tokens, _ in await three.used(at=1)] == [10]
    three.clock.moment += timedelta(seconds=LASTS + 1)
    assert [tokens for tokens, _ in await three.used(at=1)] == [90]


async def test_what_may_have_been_queued_all_the_same_is_added_when_it_must_have_ended() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    # The broker did not answer when it was queued: a worker may have it.
    await bill.give_back(surely=False)
    assert [tokens for tokens, _ in await three.used()] == [0]
    three.end(name, 40)
    three.clock.moment += timedelta(seconds=LASTS + 1)
    assert [tokens for tokens, _ in await three.used(at=1)] == [40]


async def test_nothing_is_let_in_of_which_nobody_knows_and_what_is_known_counts_on() -> None:
    three = scene()
    three.ledger.away = True
    first, _ = three.bill()
    with pytest.raises(HistoryUnavailable):
        await first.open()
    three.ledger.away = False
    await three.answer(60)
    three.ledger.away = True
    # Without its database chat goes on, and is counted.
    await three.answer(39, at=1)
    three.store.away = True
    late, _ = three.bill(at=2)
    with pytest.raises(BrokerUnavailable):
        await late.open()
    three.store.away = False
    # Also while there is a doubt.
    again, name = three.bill(at=2)
    await again.open()
    await again.give_back(surely=True)
    await three.gateways[0].charge(
        account_of(ANN.user_id, None, NOON), three.end(name, 1, attempts=2)
    )
    await three.answer(1)
    over, _ = three.bill()
    with pytest.raises(OverBudget, match="100 of 100"):
        await over.open()
    three.ledger.away = False
    assert [tokens for tokens, _ in await three.used()] == [101]


@pytest.mark.parametrize(
    ("end", "left"), [({"usage": None, "attempts": 1}, 0), ({"usage": None, "attempts": 0}, 1)]
)
async def test_an_end_without_usage_costs_nothing_and_is_believed_of_workers_alone(
    end: dict[str, object], left: int
) -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    await bill.charge(three.end(name, **end))  # type: ignore[arg-type]
    (line,) = await three.gateways[1].look(ANN)
    assert (line.used.tokens, len(line.used.open)) == (0, left)
    three.clock.moment += timedelta(seconds=LASTS + 1)
    (line,) = await three.gateways[1].look(ANN)
    assert (line.used.tokens, len(line.used.open)) == (0, 0)


async def test_an_end_does_not_wait_for_who_adds_up() -> None:
    three = scene()
    bill, name = three.bill()
    await bill.open()
    three.store.entries.clear()
    hangs = asyncio.Event()
    ask = three.ledger.ask

    async def hang(question: Question[Q, R], query: Q) -> R:
        await hangs.wait()
        return await ask(question, query)

    three.ledger.ask = hang  # type: ignore[method-assign]
    looking = asyncio.create_task(three.used())
    await rest(5)
    async with asyncio.timeout(5):
        await bill.charge(three.end(name, 20))
    assert not looking.done()
    hangs.set()
    await looking
    await three.background.aclose(1)
    assert [tokens for tokens, _ in await three.used(at=1)] == [20]


async def test_two_hundred_at_once_are_two_round_trips_and_not_two_hundred() -> None:
    three = scene(Budget(tokens=10**6))
    bills = [three.bill(at=0) for _ in range(200)]
    await asyncio.gather(*(bill.open() for bill, _ in bills))
    await asyncio.gather(*(bill.charge(three.end(name)) for bill, name in bills))
    assert three.store.reads <= 6
    assert [tokens for tokens, _ in await three.used()] == [2000]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.1]), st.sampled_from([0, 1, 3]))
def test_whatever_is_lost_every_answer_is_counted_once(
    seed: int, trouble: float, wipes: int
) -> None:
    # Not Hypothesis's own dice: when they run out, the wrong task hears of it.
    asyncio.run(_chaos(random.Random(seed), trouble, wipes))


async def _chaos(chance: random.Random, trouble: float, wipes: int) -> None:
    store = Shaky(chance, 0.0)
    # Some sums take as long as all that others do meanwhile.
    ledger = Ledger(lambda: chance.choice((0, 1, 7, 60)))
    three = Scene(store, ledger, Budget(tokens=10**9))
    await three.used()
    # From here on the first sum of this month is not to be repeated, which would mend anything.
    three.clock.moment += timedelta(seconds=LASTS + 1)
    await three.used()
    store.trouble = trouble

    async def client(at: int) -> None:
        for _ in range(3):
            await _one(three, chance, at, dies=0.1 if trouble else 0.0)

    async def vandal() -> None:
        for _ in range(wipes):
            await rest(chance.randrange(40))
            store.entries.clear()

    async with asyncio.TaskGroup() as group:
        group.create_task(vandal())
        for number in range(9):
            group.create_task(client(number % 3))
    await three.background.aclose(1)
    store.trouble = 0.0
    total = sum(end.usage.total_tokens for end in three.ledger.ends if end.usage is not None)
    if not trouble:
        # Nobody has died or was not heard: however often the store was lost, it is right at once.
        assert [tokens for tokens, _ in await three.used(at=chance.randrange(3))] == [total]
    three.clock.moment += timedelta(seconds=LASTS + 1)
    assert [tokens for tokens, _ in await three.used(at=chance.randrange(3))] == [total]
    await three.background.aclose(1)


async def _one(three: Scene, chance: random.Random, at: int, *, dies: float) -> None:
    """An answer, with all that can befall it."""
    bill, name = three.bill(at=at)
    await rest(chance.randrange(10))
    try:
        await bill.open()
    except BrokerUnavailable:
        await bill.give_back(surely=False)
        return
    if chance.random() < 0.1:
        await bill.give_back(surely=True)
        return
    await rest(chance.randrange(20))
    end = three.end(name, chance.randrange(3, 50))
    if chance.random() >= dies:
        await bill.charge(end)
    if chance.random() < 0.1:
        # The event comes again, to whoever hears it.
        again = three.gateways[chance.randrange(3)]
        with suppress(BrokerUnavailable):
            await again.charge(account_of(ANN.user_id, None, NOON), end)
