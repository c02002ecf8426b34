"""What a user has used, and what it cost: history adds up, the price table says how much."""

import asyncio
import re
from collections.abc import Mapping
from datetime import date
from typing import Final, Literal, NamedTuple

from services.api.ports.broker import Clock
from services.api.ports.sessions import Asking
from services.api.prices import PriceTable, money
from shared.contracts.ids import UserId
from shared.contracts.usage import COUNTS, USAGE, Counts, CountsQuery, UsageQuery, UsageRow
from shared.errors import HistoryUnavailable, InvalidRequest

Group = Literal["day", "model"]

DAYS: Final = 30
"""Of a statement for which nobody named days, today included."""
_MOST_DAYS: Final = 366
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Period(NamedTuple):
    """Days in UTC, both included."""

    first: date
    last: date


class Line(NamedTuple):
    """What was used, and what it costs, as ``money`` writes it."""

    used: UsageRow
    cost: str


class Statement(NamedTuple):
    """Lines in order of their keys; ``whole`` is over all of them, rounded once."""

    period: Period
    group: Group
    currency: str
    lines: list[Line]
    whole: Line


class Stats(NamedTuple):
    """What a user has, and the last 30 days by day and by model."""

    counts: Counts
    by_day: Statement
    by_model: Statement


def period_of(first: str | None, last: str | None, today: date) -> Period:
    """The days that a client asks for: the last 30 unless it says otherwise.

    Raises:
        InvalidRequest: not a day, in the wrong order, or more than 366 of them.
    """
    end = _day(last, "to") if last is not None else today
    if first is not None:
        begin = _day(first, "from")
    else:
        begin = date.fromordinal(max(end.toordinal() - DAYS + 1, 1))
    days = (end - begin).days + 1
    if days < 1:
        message = f"The day from ({begin}) comes after the day to ({end})."
        raise InvalidRequest(message, param="from")
    if days > _MOST_DAYS:
        message = f"At most {_MOST_DAYS} days can be asked for at once, not {days}."
        raise InvalidRequest(message, param="from")
    return Period(begin, end)


class Accounting:
    """The use case behind usage and statistics.

    Raises (every call):
        HistoryUnavailable: nobody answers, or its database is away.
    """

    def __init__(self, history: Asking, clock: Clock, *, prices: PriceTable, currency: str) -> None:
        self._history = history
        self._clock = clock
        self._prices = prices
        self._currency = currency

    async def statement(
        self, user_id: UserId, first: str | None, last: str | None, group: Group
    ) -> Statement:
        """Usage and cost of these days.

        Raises:
            InvalidRequest: see ``period_of``.
        """
        period = period_of(first, last, self._clock.now().date())
        reply = await self._history.ask(
            USAGE,
            UsageQuery(user_id=user_id, first=period.first, last=period.last, group=group),
        )
        if reply.whole is None:
            raise HistoryUnavailable("The history service sent usage without its sum.")
        return Statement(
            period,
            group,
            self._currency,
            [self._line(row) for row in reply.rows],
            self._line(reply.whole),
        )

    async def stats(self, user_id: UserId) -> Stats:
        """What the user has, and the last 30 days."""
        counts, by_day, by_model = await asyncio.gather(
            self._history.ask(COUNTS, CountsQuery(user_id=user_id)),
            self.statement(user_id, None, None, "day"),
            self.statement(user_id, None, None, "model"),
        )
        return Stats(counts, by_day, by_model)

    def _line(self, row: UsageRow) -> Line:
        return Line(row, self._cost(row.models))

    def _cost(self, tokens: Mapping[str, tuple[int, int]]) -> str:
        return money(self._prices.cost(tokens))


def _day(text: str, param: str) -> date:
    message = f"The day {param} is written as YYYY-MM-DD."
    # fromisoformat would take weeks and days without hyphens too.
    if _DAY.fullmatch(text) is None:
        raise InvalidRequest(message, param=param)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(message, param=param) from error
