"""A cluster for all cases of a module, and the table at the end."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.books import forget_journal
from tests.faults.cluster import Cluster
from tests.faults.table import KEPT_IN, PROPERTY, Report, Row, as_markdown


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(shared_cluster: Cluster) -> AsyncGenerator[Cluster]:
    """The module's cluster, without a worker and with an empty journal."""
    await forget_journal(shared_cluster)
    yield shared_cluster
    await shared_cluster.gate(closed=False)
    shared_cluster.end_workers()


@pytest.fixture
def report(record_property: Any) -> Report:  # noqa: ANN401 - pytest's own, without a type
    def say(number: str, fault: str, measured: str, passes: str) -> None:
        record_property(PROPERTY, (number, fault, measured, passes))

    return say


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - as above
    rows = [
        _row(value, ok=outcome == "passed")
        for outcome in ("passed", "failed")
        for result in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(result, "user_properties", [])
        if name == PROPERTY
    ]
    unmeasured = [
        Row("-", result.nodeid.rpartition("::")[2], "it broke off", "", ok=False)
        for outcome in ("failed", "error")
        for result in terminalreporter.stats.get(outcome, [])
        if "tests/faults" in result.nodeid
        and PROPERTY not in dict(getattr(result, "user_properties", []))
    ]
    if rows:
        table = as_markdown([*rows, *unmeasured])
        KEPT_IN.parent.mkdir(exist_ok=True)
        KEPT_IN.write_text(table)
        terminalreporter.section("faults")
        terminalreporter.write(table)
        terminalreporter.write_line(f"kept in {KEPT_IN}")


def _row(said: tuple[str, str, str, str], *, ok: bool) -> Row:
    return Row(*said, ok)
