"""What reports of usage need of the database: sums made there, and bounded lists.

Every method raises ``shared.errors.HistoryUnavailable`` when the database is away or slow.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol

from shared.contracts.ids import CompletionId, UserId


class UsageSum(NamedTuple):
    """What one user used of one model on one day."""

    day: str
    """``YYYY-MM-DD``, UTC."""
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: int
    """How many of the requests have estimated counts."""


class FirstToken(NamedTuple):
    """How long one request waited for its first token, in milliseconds."""

    day: str
    model: str
    milliseconds: int


class Tally(NamedTuple):
    """How much there is that is not deleted."""

    sessions: int
    messages: int
    """Those on the longest branch of each session."""


class UsageStore(Protocol):
    """Reads usage records and counts sessions; writes nothing."""

    async def sums(
        self, user_id: UserId, first: str, last: str, *, key_id: str | None = None
    ) -> list[UsageSum]:
        """Sums over the days from ``first`` to ``last``, both included, in no order.

        Only of what was asked for with the key ``key_id``, where there is one.
        """
        ...

    async def ended(
        self, user_id: UserId, completion_ids: Collection[CompletionId]
    ) -> set[CompletionId]:
        """Those of the user's completions of which the end, or what it used, is stored."""
        ...

    async def first_tokens(
        self, user_id: UserId, first: str, last: str, limit: int
    ) -> list[FirstToken]:
        """Those of the same days that are known; beyond ``limit`` the latest days, in no order."""
        ...

    async def tally(self, user_id: UserId) -> Tally:
        """The user's sessions and their messages."""
        ...
