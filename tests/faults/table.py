"""The rows that are kept: what broke, what was measured, what would still have passed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]

PROPERTY = "fault_row"
KEPT_IN = Path(__file__).parents[2] / "build" / "faults.md"


@dataclass(frozen=True)
class Row:
    """One line of the table; ``number`` is that of the list of faults that Parley withstands."""

    number: str
    fault: str
    measured: str
    passes: str
    ok: bool = True


Report = Callable[[str, str, str, str], None]
"""``report(number, fault, measured, passes)``, said by a case once it knows."""


def as_markdown(rows: Sequence[Row]) -> str:
    """The table with the day and the machine, without which figures say nothing."""
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "",
        "| # | fault | measured | pass line | ok |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.number} | {row.fault} | {row.measured} | {row.passes} "
        f"| {'yes' if row.ok else '**NO**'} |"
        for row in sorted(rows, key=_order)
    ]
    return "\n".join(lines) + "\n"


def _order(row: Row) -> tuple[int, str]:
    digits = "".join(character for character in row.number if character.isdigit())
    return int(digits or 99), row.number
