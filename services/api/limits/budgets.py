"""Budgets of calendar months: who may still ask, and what each answer is charged.

Counters are in the broker, so that all gateways count as one; what they say is what history has
stored, and where that is in doubt it is summed there anew.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from services.api.access.caller import Caller
from services.api.background import Background
from services.api.limits.batching import Batching
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
from services.api.limits.refusals import OverBudget
from services.api.ports.broker import Clock
from services.api.ports.budgets import Counter, CounterStore
from services.api.ports.sessions import Asking
from services.api.prices import PriceTable
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.usage import SPENT, SpentQuery
from shared.errors import BrokerUnavailable, ChatError

log = structlog.stdlib.get_logger(__name__)

_TRIES: Final = 100
"""Each lost try is another gateway's success."""
_UNKNOWN: Final = Counter(whole=False)


class _Work(NamedTuple):
    """Something to be done with a counter."""

    change: Callable[[Counter | None], tuple[Counter | None, Any]]
    believes: bool = False
    """Whether it needs a sum that is right, and not only a place to add to."""


class Line(NamedTuple):
    """How one budget of a caller's stands."""

    account: Account
    budget: Budget
    used: Counter


class Budgets:
    """The use case, of one gateway among several."""

    def __init__(
        self,
        store: CounterStore,
        history: Asking,
        clock: Clock,
        background: Background,
        *,
        prices: PriceTable,
        currency: str,
        of_each_user: Budget,
        of_users: Mapping[UserId, Budget],
        lasts: float,
    ) -> None:
        """Describe it.

        Args:
            store: Where all gateways count together.
            history: Who knows what was used.
            clock: Whose months count.
            background: Where counting goes on when its request has gone.
            prices: What tokens cost now.
            currency: What the prices are in.
            of_each_user: By this gateway's settings.
            of_users: Who has another one.
            lasts: Seconds after which an answer has certainly ended, and history knows it.
        """
        self._store = store
        self._history = history
        self._clock = clock
        self._batching: Batching[Account, _Work] = Batching(
            self._apply, background, late="Your budget could not be read; try again."
        )
        self._prices = prices
        self.currency = currency
        self._of_each_user = of_each_user
        self._of_users = of_users
        self._lasts = lasts

    async def look(self, caller: Caller) -> list[Line]:
        """How the budgets of a caller stand this month; nothing for who has none.

        Raises:
            BrokerUnavailable: nobody knows.
            HistoryUnavailable: the same.
        """
        work = _Work(lambda counter: (counter, counter), believes=True)
        return [
            Line(account, budget, await self._batching.do(account, work))
            for account, budget in self.accounts(caller, self._clock.now())
        ]

    async def open(self, account: Account, budget: Budget, completion_id: CompletionId) -> None:
        """Let an answer in that will be charged to ``account``.

        Raises:
            OverBudget: it is used up.
            BrokerUnavailable: nobody knows.
            HistoryUnavailable: the same.
        """
        until = int(self._clock.now().timestamp() + self._lasts)

        def change(counter: Counter | None) -> tuple[Counter | None, Counter | None]:
            # What needs to be believed is never absent.
            counter = counter or Counter()
            if exhausted(counter, budget):
                return counter, counter
            return opened(counter, completion_id, until), None

        full = await self._batching.do(account, _Work(change, believes=True))
        if full is not None:
            kinds = exhausted(full, budget)
            raise OverBudget(refusal(account, full, budget, self.currency, kinds))

    async def close(self, account: Account, completion_id: CompletionId) -> None:
        """Nothing came of it, or nothing was used.

        Raises:
            BrokerUnavailable: not done, or done without our hearing of it.
        """
        await self._batching.do(
            account, _Work(lambda counter: (closed(counter, completion_id), None))
        )

    async def charge(self, account: Account, end: CompletionCompleted) -> None:
        """Count what an answer has used, at the price of this moment.

        Raises:
            BrokerUnavailable: not done, or done without our hearing of it.
        """
        usage = end.usage
        if usage is None:
            await self.close(account, end.completion_id)
            return
        cost = self._prices.cost({end.model: (usage.prompt_tokens, usage.completion_tokens)})
        settle = partial(settled, tokens=usage.total_tokens, amount=cost)
        await self._batching.do(
            account, _Work(lambda counter: (settle(counter, end.completion_id), None))
        )

    def accounts(self, caller: Caller, moment: datetime) -> Sequence[tuple[Account, Budget]]:
        """What an answer that is asked for at this moment is charged to: both, where there are.

        Nothing for callers who are known by address only: they could make any number of counters,
        each kept for a month. Rates bound them.
        """
        if caller.anonymous:
            return []
        own = caller.allowance
        of_key = Budget(own.tokens_per_month or 0, own.money_per_month or Budget().money)
        of_user = self._of_users.get(caller.user_id, self._of_each_user)
        found = []
        if of_user:
            found.append((account_of(caller.user_id, None, moment), of_user))
        if of_key and caller.key_id is not None:
            found.append((account_of(caller.user_id, caller.key_id, moment), of_key))
        return found

    async def _apply(self, account: Account, works: Sequence[_Work]) -> list[Any]:
        for _ in range(_TRIES):
            held = await self._store.get(account.key)
            before = held.counter if held is not None else None
            now = self._clock.now()
            counter, failure = before, None
            if any(work.believes for work in works):
                if before is None:
                    # The sum replaces this, by its revision: if all is lost meanwhile, and perhaps
                    # written and lost again, that is noticed. An absent one would look the same.
                    await self._store.set(account.key, _UNKNOWN, None, account.lasts(now))
                    continue
                counter, failure = await self._believed(account, before, now.timestamp())
            results: list[Any] = []
            for work in works:
                result: Any = failure
                if failure is None or not work.believes:
                    counter, result = work.change(counter)
                results.append(result)
            if counter is None or counter == before:
                return results
            revision = held.revision if held is not None else None
            if await self._store.set(account.key, counter, revision, account.lasts(now)):
                return results
        raise BrokerUnavailable("Too many gateways count your budget at once; try again.")

    async def _believed(
        self, account: Account, before: Counter, now: float
    ) -> tuple[Counter, ChatError | None]:
        """What is known, or why nothing is."""
        if not needs_sum(before, now):
            return before, None
        try:
            return await self._sum(account, before, now), None
        except ChatError as error:
            log.warning("budget_not_summed", code=error.code)
            if not before.whole:
                return before, error
            # What is known counts until history is back: chat goes on without its database.
            return before, None

    async def _sum(self, account: Account, before: Counter, now: float) -> Counter:
        spent = await self._history.ask(
            SPENT,
            SpentQuery(
                user_id=account.user_id,
                key_id=account.key_id,
                first=account.first,
                last=account.last,
                open=list(before.open),
            ),
        )
        cost = self._prices.cost(spent.models)
        ended = frozenset(spent.ended)
        return summed(before, spent.tokens, cost, ended, now=now, lasts=self._lasts)
