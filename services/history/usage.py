"""What a user has used, by day or by model, and how much a user has."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from services.history.freshness import Freshness
from services.history.usage_ports import FirstToken, UsageStore, UsageSum
from shared.contracts.usage import Counts, CountsQuery, UsageQuery, UsageReply, UsageRow
from shared.errors import InvalidRequest

MOST_DAYS: Final = 366
TIMED: Final = 5_000
"""Requests whose first token is looked at: the embedded server has no ``$percentile``, and takes
some 70 ms to hand over 1,000 numbers."""
WHOLE: Final = "total"
_LATEST: Final = ":latest"


class UsageReports:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: UsageStore, freshness: Freshness, *, timed: int = TIMED) -> None:
        self._store = store
        self._freshness = freshness
        self._timed = timed

    async def usage(self, query: UsageQuery) -> UsageReply:
        """Rows of days or models with any usage; what has been completed is in it.

        A model with and without ``:latest`` is one.

        Mean and p95 (nearest rank) of the time to the first token are those of at most ``timed``
        requests, the latest days first; all other numbers are of every request.

        Raises:
            InvalidRequest: the days are in the wrong order or more than 366.
        """
        _check_days(query)
        await self._freshness.everything()
        days = (query.first.isoformat(), query.last.isoformat())
        sums = await self._store.sums(query.user_id, *days)
        tokens = await self._store.first_tokens(query.user_id, *days, self._timed)
        sums = [part._replace(model=_shown(part.model)) for part in sums]
        tokens = [token._replace(model=_shown(token.model)) for token in tokens]
        parts: dict[str, list[UsageSum]] = defaultdict(list)
        for part in sums:
            parts[_key(part, query)].append(part)
        times: dict[str, list[int]] = defaultdict(list)
        for token in tokens:
            times[_key(token, query)].append(token.milliseconds)
        return UsageReply(
            rows=[_row(key, parts[key], times[key]) for key in sorted(parts)],
            whole=_row(WHOLE, sums, [token.milliseconds for token in tokens]),
        )

    async def counts(self, query: CountsQuery) -> Counts:
        """Sessions and their messages; what has been completed is in it."""
        await self._freshness.everything()
        tally = await self._store.tally(query.user_id)
        return Counts(sessions=tally.sessions, messages=tally.messages)


def nearest_rank(values: Iterable[int], share: float) -> float | None:
    """The smallest value that ``share`` of all do not exceed; ``None`` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return float(ordered[max(math.ceil(share * len(ordered)), 1) - 1])


def _check_days(query: UsageQuery) -> None:
    days = (query.last - query.first).days + 1
    if days < 1:
        raise InvalidRequest("The first day comes after the last.", param="first")
    if days > MOST_DAYS:
        message = f"At most {MOST_DAYS} days can be asked for at once, not {days}."
        raise InvalidRequest(message, param="first")


def _shown(model: str) -> str:
    return model.removesuffix(_LATEST)


def _key(part: UsageSum | FirstToken, query: UsageQuery) -> str:
    return part.day if query.group == "day" else part.model


def _row(key: str, parts: Sequence[UsageSum], times: Sequence[int]) -> UsageRow:
    models: dict[str, tuple[int, int]] = {}
    for part in sorted(parts, key=lambda it: it.model):
        prompt, completion = models.get(part.model, (0, 0))
        models[part.model] = (prompt + part.prompt_tokens, completion + part.completion_tokens)
    return UsageRow(
        key=key,
        requests=sum(part.requests for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        total_tokens=sum(part.total_tokens for part in parts),
        estimated=sum(part.estimated for part in parts),
        first_token_ms_mean=round(sum(times) / len(times), 1) if times else None,
        first_token_ms_p95=nearest_rank(times, 0.95),
        models=models,
    )
