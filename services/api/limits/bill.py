"""What one answer costs, by all accounts that it is charged to."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import structlog

from services.api.background import Background
from services.api.limits.budget import Account, Budget
from services.api.limits.budgets import Budgets
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_WAIT: Final = 1.0
"""Seconds for which an end waits until it is counted: somebody may be adding up, for longer."""


class Bill:
    """What one answer will cost, by all accounts that it is charged to."""

    def __init__(
        self,
        budgets: Budgets,
        accounts: Sequence[tuple[Account, Budget]],
        completion_id: CompletionId,
        background: Background,
    ) -> None:
        """Nothing is charged yet.

        Args:
            budgets: Who counts.
            accounts: Whose, and how much they may use.
            completion_id: The answer.
            background: Where counting goes on that nobody waits for.
        """
        self._budgets = budgets
        self._accounts = accounts
        self._completion_id = completion_id
        self._background = background
        self._open: list[Account] = []

    async def open(self) -> None:
        """Let it in, by all accounts or by none; ``give_back`` undoes what was done.

        Raises:
            OverBudget: one of them is used up.
            BrokerUnavailable: nobody knows.
            HistoryUnavailable: the same.
        """
        for account, budget in self._accounts:
            # Before: it may be done without our hearing of it.
            self._open.append(account)
            await self._budgets.open(account, budget, self._completion_id)

    async def give_back(self, *, surely: bool) -> None:
        """Nothing came of it; unless that is sure, it stays open until history knows better."""
        accounts, self._open = self._open, []
        if surely:
            await self._each(accounts, lambda it: self._budgets.close(it, self._completion_id))

    async def charge(self, end: CompletionCompleted | None) -> None:
        """It has ended; where nobody knows how, it stays open until history does."""
        accounts, self._open = self._open, []
        if end is None or (end.usage is None and not end.attempts):
            # The second is an end of a gateway's, which a worker's may have preceded.
            return
        await self._each(accounts, lambda it: self._budgets.charge(it, end))

    async def _each(
        self, accounts: Sequence[Account], work: Callable[[Account], Coroutine[Any, Any, None]]
    ) -> None:
        if accounts:
            counting = self._background.spawn(self._all(map(work, accounts)), "count-budget")
            # In time for the next request, and no longer than that is worth.
            await asyncio.wait([counting], timeout=_WAIT)

    async def _all(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        for work in works:
            try:
                await work
            except BrokerUnavailable:
                # Not again: it may be done. What stays open is summed when it must have ended.
                log.info("budget_not_counted")
