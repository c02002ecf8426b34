"""Who answers questions about usage."""

from collections.abc import Sequence
from typing import Any

from services.history.handlers import Operation
from services.history.spending import Spending
from services.history.usage import UsageReports
from shared.contracts.usage import COUNTS, SPENT, USAGE


def usage_operations(reports: UsageReports, spending: Spending) -> Sequence[Operation[Any, Any]]:
    """What was used, and how much there is."""
    return (
        Operation(USAGE, reports.usage),
        Operation(COUNTS, reports.counts),
        Operation(SPENT, spending.spent),
    )
