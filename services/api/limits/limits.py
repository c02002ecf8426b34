"""The use case: may this caller start an answer now, and what becomes of its permit."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import structlog

from services.api.access.caller import Caller
from services.api.background import Background
from services.api.limits.bill import Bill
from services.api.limits.budgets import Budgets
from services.api.limits.gcra import DAY, HOUR, MINUTE, SECOND, Rate
from services.api.limits.leases import Lease, Leases
from services.api.limits.metering import Metering
from services.api.limits.pace import Pace
from services.api.limits.quota import Levels, Quota, Readings, admit, charge, levels_of
from services.api.limits.refusals import OverLimit, too_many_at_once
from shared.contracts.events import CompletionCompleted
from shared.contracts.holders import holder_of
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_ONE_ENDS: Final = SECOND
"""Nobody knows when an answer will end: clients may look after so long."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What callers may use whose keys say nothing else; 0 is any number."""

    requests_per_minute: int
    concurrent: int
    tokens_per_minute: int
    tokens_per_day: int


class Wanted(NamedTuple):
    """An answer that is to be started."""

    completion_id: CompletionId
    asked_at: datetime
    estimate: Callable[[], int]
    """Tokens that its prompt may have at most: asked only where tokens are limited, for a prompt of
    megabytes takes a while."""


class Limits:
    """Asks for the right to run answers, on behalf of callers."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        metering: Metering,
        budgets: Budgets,
        leases: Leases,
        pace: Pace,
        background: Background,
    ) -> None:
        """Describe it.

        Args:
            allowed: By this gateway's settings.
            metering: What was used, counted by all gateways together.
            budgets: What a month has left, counted in the same way.
            leases: What runs.
            pace: What starts no answer; of this gateway alone.
            background: Where counting goes on that nobody waits for.
        """
        self._allowed = allowed
        self._metering = metering
        self.budgets = budgets
        self.leases = leases
        self.pace = pace
        self._background = background

    async def enter(self, caller: Caller, wanted: Wanted) -> "Permit":
        """Hold a place for one more answer.

        Args:
            caller: Whose.
            wanted: What it is.

        Raises:
            OverLimit: as many as may run at once are running.
            BrokerUnavailable: nobody knows.
        """
        quota = self._quota(caller)
        lease = None
        if quota.concurrent:
            owner = secrets.token_hex(16)
            lease = await self.leases.take(quota.slots, quota.concurrent, owner)
            if lease is None:
                raise OverLimit(too_many_at_once(quota.concurrent, _ONE_ENDS), None)
        accounts = self.budgets.accounts(caller, wanted.asked_at)
        bill = Bill(self.budgets, accounts, wanted.completion_id, self._background)
        return Permit(quota, lease, wanted.estimate, self._metering, self.leases, bill)

    async def look(self, caller: Caller) -> Levels:
        """How the caller stands, without counting anything.

        Raises:
            BrokerUnavailable: nobody knows.
        """
        quota = self._quota(caller)
        if not quota.metered:
            return Levels()
        return levels_of(quota, *await self._metering.look(quota.meter))

    def _quota(self, caller: Caller) -> Quota:
        allowed, own = self._allowed, caller.allowance
        requests, concurrent = own.requests_per_minute, own.concurrent
        user, key = holder_of(caller.user_id, None), holder_of(caller.user_id, caller.key_id)
        if requests is None:
            requests, meter = allowed.requests_per_minute, user
        else:
            # A key that was given numbers of its own is counted by itself.
            meter = key
        return Quota(
            meter=meter,
            slots=user if concurrent is None else key,
            concurrent=allowed.concurrent if concurrent is None else concurrent,
            requests=Rate(requests, MINUTE) if requests else None,
            minute_tokens=_tokens(allowed.tokens_per_minute, MINUTE, HOUR),
            day_tokens=_tokens(allowed.tokens_per_day, DAY, DAY),
        )


class Permit:
    """The right to run one answer, from before it is queued until it has ended."""

    def __init__(
        self,
        quota: Quota,
        lease: Lease | None,
        estimate: Callable[[], int],
        metering: Metering,
        leases: Leases,
        bill: Bill,
    ) -> None:
        self._quota = quota
        self._lease = lease
        self._estimate = 0
        if quota.counts_tokens:
            # No more than is let in without a debt: one that is cut off at the most that a debt may
            # be could not be given back to the token.
            self._estimate = min(estimate(), *(rate.limit for _, rate in quota.token_rates()))
        self._metering = metering
        self._leases = leases
        self._bill = bill
        self._counted = False
        self.levels = Levels()
        """How the caller stood when this was counted."""

    async def count(self) -> None:
        """Count the request, the last thing before it is queued.

        Raises:
            OverBudget: the month's budget is used up.
            OverLimit: too many, or too many tokens.
            BrokerUnavailable: nobody knows.
            HistoryUnavailable: nobody knows what was used this month.
        """
        # First: who has used up a month's budget is not told to try again in three seconds.
        await self._bill.open()
        quota = self._quota
        if not quota.metered:
            return
        verdict = await self._metering.change(
            quota.meter, partial(admit, quota, estimate=self._estimate)
        )
        self.levels = verdict.levels
        if verdict.refusal is not None:
            raise OverLimit(verdict.refusal, verdict.levels)
        self._counted = True

    async def give_back(self, *, surely: bool) -> None:
        """Nothing came of it: neither the request nor its place counts.

        Unless that is ``surely`` so, a worker may have got it: then its budget waits for the end.
        """
        counted, self._counted = self._counted, False
        work = [self._let_go(), self._bill.give_back(surely=surely)]
        if counted:
            work.append(self._charge(-self._estimate, requests=-1))
        await asyncio.gather(*work)

    async def end(self, end: CompletionCompleted | None) -> None:
        """It has ended: free its place, and count the tokens that it took in earnest."""
        work = [self._let_go(), self._bill.charge(end)]
        if self._counted and end is not None:
            # Without usage no engine has worked on it.
            used = end.usage.total_tokens if end.usage is not None else 0
            work.append(self._charge(used - self._estimate))
            self._counted = False
        await asyncio.gather(*work)

    def forget(self) -> None:
        """It goes on without this gateway: its place is free once the lease has run out."""
        if self._lease is not None:
            self._leases.forget(self._lease)

    async def _let_go(self) -> None:
        if self._lease is not None:
            await self._leases.release(self._lease)

    async def _charge(self, tokens: int, *, requests: int = 0) -> None:
        if not requests and not (tokens and self._quota.counts_tokens):
            return

        def change(readings: Readings, now: int) -> tuple[Readings, None]:
            return charge(self._quota, readings, now, tokens=tokens, requests=requests), None

        try:
            await self._metering.change(self._quota.meter, change)
        except BrokerUnavailable:
            # Not again: it may be counted already. What is taken is earned back in any case.
            log.info("usage_not_counted", tokens=tokens, requests=requests)


def _tokens(limit: int, period: int, most_debt: int) -> Rate | None:
    return Rate(limit, period, most_debt) if limit else None
