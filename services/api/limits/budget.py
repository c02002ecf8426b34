"""What may be used in a calendar month, and what an answer does to its counter: pure.

An answer is opened when it is let in and closed when it has ended. Whether an end was added already
is seen from that, so nothing is counted twice: an end of what is not open is only a doubt, and a
counter with doubts is summed anew from history before it is believed again.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from services.api.ports.budgets import Counter
from services.api.prices import money, plus
from shared.contracts.holders import holder_of
from shared.contracts.ids import CompletionId, UserId

_MANY: Final = 1000
"""Of open answers; among more of them are some whose gateway has died."""
_KEPT: Final = timedelta(days=2)
"""After the end of a month: then its last answers have ended."""


@dataclass(frozen=True, slots=True)
class Budget:
    """For a month; 0 is any amount."""

    tokens: int = 0
    money: Decimal = Decimal(0)

    def __bool__(self) -> bool:
        """Whether it limits anything."""
        return bool(self.tokens or self.money)


class Account(NamedTuple):
    """Whose month is counted: a user's, or that of one key of a user's."""

    user_id: UserId
    key_id: str | None
    first: date
    """The first day of the month, UTC."""

    @property
    def key(self) -> str:
        """Its name among all counters."""
        return f"{holder_of(self.user_id, self.key_id)}.{self.first:%Y-%m}"

    @property
    def last(self) -> date:
        """The last day of the month."""
        return self.renewed_on - timedelta(days=1)

    @property
    def renewed_on(self) -> date:
        """The first day of the next month."""
        return (self.first + timedelta(days=31)).replace(day=1)

    def lasts(self, now: datetime) -> float:
        """Seconds for which its counter is kept."""
        over = datetime(self.renewed_on.year, self.renewed_on.month, 1, tzinfo=UTC) + _KEPT
        return max((over - now).total_seconds(), _KEPT.total_seconds())


def account_of(user_id: UserId, key_id: str | None, moment: datetime) -> Account:
    """The account of the month of ``moment``: that in which an answer is asked for, as in usage."""
    return Account(user_id, key_id, moment.astimezone(UTC).date().replace(day=1))


def needs_sum(counter: Counter, now: float) -> bool:
    """Whether history has to be asked before this can be believed."""
    if not counter.whole or counter.doubts or len(counter.open) > _MANY:
        return True
    if counter.again and counter.again < now:
        return True
    # One that must have ended, and was never closed: its gateway has died.
    return any(until < now for until in counter.open.values())


def summed(
    before: Counter,
    tokens: int,
    amount: Decimal,
    ended: Collection[CompletionId],
    *,
    now: float,
    lasts: float,
) -> Counter:
    """The counter by a sum that has all of ``ended`` in it, and nothing of what is still open.

    What was open in a counter that is lost may end without a word to this one, if its gateway has
    died: until that has certainly ended, a first sum is not the last.
    """
    held = before.open
    left = {name: until for name, until in held.items() if name not in ended and until >= now}
    again = before.again if before.whole else math.ceil(now + lasts)
    return Counter(tokens, amount, left, again=again if again >= now else 0)


def exhausted(counter: Counter, budget: Budget) -> list[str]:
    """What is used up, ``tokens`` and ``money``."""
    kinds = []
    if budget.tokens and counter.tokens >= budget.tokens:
        kinds.append("tokens")
    if budget.money and counter.money >= budget.money:
        kinds.append("money")
    return kinds


def opened(counter: Counter, completion_id: CompletionId, until: int) -> Counter:
    """With one more answer that will be added when it ends."""
    return replace(counter, open={**counter.open, completion_id: until})


def closed(counter: Counter | None, completion_id: CompletionId) -> Counter | None:
    """Without that answer, which has used nothing."""
    if counter is None or completion_id not in counter.open:
        return counter
    return replace(counter, open=_without(counter, completion_id))


def settled(
    counter: Counter | None, completion_id: CompletionId, tokens: int, amount: Decimal
) -> Counter:
    """With what that answer has used, or with a doubt: it may be in the sum already."""
    if counter is None:
        return Counter(whole=False, doubts=1)
    if completion_id not in counter.open:
        # Another number each time: who sums at this moment must notice that something has ended.
        return replace(counter, doubts=counter.doubts + 1)
    return replace(
        counter,
        tokens=counter.tokens + tokens,
        money=plus(counter.money, amount),
        open=_without(counter, completion_id),
    )


def refusal(
    account: Account, counter: Counter, budget: Budget, currency: str, kinds: Collection[str]
) -> str:
    """Why nothing is let in, and until when."""
    whose = "Your" if account.key_id is None else "This API key's"
    used = []
    if "tokens" in kinds:
        used.append(f"{counter.tokens} of {budget.tokens} tokens")
    if "money" in kinds:
        used.append(f"{money(counter.money)} of {money(budget.money)} {currency}")
    return (
        f"{whose} budget of this month is used up: {' and '.join(used)}. "
        f"It is renewed on {account.renewed_on.isoformat()}, UTC."
    )


def _without(counter: Counter, completion_id: CompletionId) -> dict[CompletionId, int]:
    return {name: until for name, until in counter.open.items() if name != completion_id}
