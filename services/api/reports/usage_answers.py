"""Usage as JSON bodies and as a table for spreadsheets: pure."""

import csv
import io
from typing import Any, Final

from services.api.reports.accounting import Line, Statement, Stats
from services.api.schemas.usage import (
    ModelRowBody,
    StatsBody,
    UsageBody,
    UsageRowBody,
    UsageSumBody,
)

_COLUMNS: Final = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "estimated_requests",
    "first_token_ms_mean",
    "first_token_ms_p95",
    "cost",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet run a cell, also in the full-width spelling."""


def to_usage_body(statement: Statement) -> UsageBody:
    """A statement as JSON."""
    return UsageBody(
        first_day=statement.period.first,
        last_day=statement.period.last,
        group=statement.group,
        currency=statement.currency,
        rows=_rows(statement),
        total=UsageSumBody(**_sum(statement.whole)),
    )


def to_stats_body(stats: Stats) -> StatsBody:
    """Statistics as JSON."""
    by_day = stats.by_day
    return StatsBody(
        **_sum(by_day.whole),
        sessions=stats.counts.sessions,
        messages=stats.counts.messages,
        first_day=by_day.period.first,
        last_day=by_day.period.last,
        currency=by_day.currency,
        by_day=_rows(by_day),
        by_model=[
            ModelRowBody(key=line.used.key, model=line.used.key, **_sum(line))
            for line in stats.by_model.lines
        ],
    )


def to_csv(statement: Statement) -> str:
    """The rows by RFC 4180 with a header; no sum, which a spreadsheet would add up again."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow([statement.group, *_COLUMNS, "currency"])
    for line in statement.lines:
        cells = _sum(line)
        values = [cells[column] for column in _COLUMNS]
        writer.writerow([_defused(line.used.key), *values, _defused(statement.currency)])
    return table.getvalue()


def csv_name(statement: Statement) -> str:
    """How the table's file is called."""
    first, last = statement.period
    return f"usage-{first}-{last}-{statement.group}.csv"


def _rows(statement: Statement) -> list[UsageRowBody]:
    return [UsageRowBody(key=line.used.key, **_sum(line)) for line in statement.lines]


def _sum(line: Line) -> dict[str, Any]:
    used = line.used
    return {
        "requests": used.requests,
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.total_tokens,
        "estimated_requests": used.estimated,
        "first_token_ms_mean": used.first_token_ms_mean,
        "first_token_ms_p95": used.first_token_ms_p95,
        "cost": line.cost,
    }


def _defused(text: str) -> str:
    # A model's name is whatever a client has sent.
    return f"'{text}" if text.startswith(_FORMULA) else text
