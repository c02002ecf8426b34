"""Why something is among the dead letters, as a header may hold it."""

import pytest

from shared.contracts.dead_letters import REASON_LENGTH, reason_line


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("no JSON:\n  line 1\r\n column 2", "no JSON: line 1 column 2"),
        ("größer als 16 MB", "gr??er als 16 MB"),
        ("x" * 2000, "x" * REASON_LENGTH),
    ],
)
def test_a_reason_is_one_short_line_of_ascii(reason: str, line: str) -> None:
    assert reason_line(reason) == line
