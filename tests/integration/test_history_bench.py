"""The bench of history fails where it is slower than it may be, and says what is."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

BENCH = Path(__file__).parents[2] / "bench" / "history_reads.py"
SMALL = ["--messages", "20", "--sessions", "3", "--rounds", "2"]


@pytest.mark.parametrize(("bound", "code"), [("0.0001", 1), ("600000", 0)])
def test_a_bound_decides_how_the_bench_ends(bound: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, str(BENCH), *SMALL, "--bound", bound],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert "list of 50 sessions" in ended.stdout
    named = ended.stderr.splitlines()[-1] if code else ""
    assert ("list of 50 sessions (" in named) is bool(code)
    assert ("page of the whole tree (" in named) is bool(code)
