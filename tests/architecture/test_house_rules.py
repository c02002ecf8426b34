"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for top in ("services", "shared", "deploy")
    for path in (ROOT / top).rglob("*.py")
    if "node_modules" not in path.parts
)
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_is_one_idea_of_at_most_250_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 250


DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(it.relative_to(ROOT)) for it in DOCUMENTS])
def test_nothing_is_left_in_a_document_of_two_versions_that_were_joined(path: Path) -> None:
    marks = re.compile(r"^(<{7}|>{7}|={7}$|\|{7})", re.MULTILINE)
    assert marks.search(path.read_text()) is None


def test_no_module_has_a_name_that_allows_anything() -> None:
    vague = {"utils", "util", "helpers", "common", "manager", "base", "misc"}
    assert [name for path, name in zip(MODULES, NAMES, strict=True) if path.stem in vague] == []


def test_subject_strings_stand_in_the_contracts_only() -> None:
    families = "requests|chunks|control|workers|sync|events|history|live|provision|dead_letters"
    pattern = re.compile(rf"[\"']chat\.({families})\b")
    outside = [
        name
        for path, name in zip(MODULES, NAMES, strict=True)
        if not name.startswith("shared/contracts/")
        and any(pattern.search(line) for line in _code_lines(path))
    ]
    assert outside == []


def test_faststream_never_declares_a_stream_and_never_hoards_jobs() -> None:
    # JStream(declare=True), the default, silently resets limits of an existing stream; a pull
    # subscriber with max_workers takes jobs that it cannot run (faststream #2563).
    for path, name in zip(MODULES, NAMES, strict=True):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if _is_call(node)):
            assert isinstance(call, ast.Call)
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            if _called(call) == "JStream":
                declare = keywords.get("declare")
                assert isinstance(declare, ast.Constant), name
                assert declare.value is False, name
            if _called(call) == "subscriber":
                assert not ({"pull_sub", "max_workers"} <= keywords.keys()), name


def test_the_broker_connection_never_gives_up() -> None:
    # A FastStream pull loop on a connection that was given up hangs the whole event loop.
    source = (ROOT / "shared/messaging/connection.py").read_text()
    assert "max_reconnect_attempts=-1" in source
    builders = [
        name
        for path, name in zip(MODULES, NAMES, strict=True)
        if re.search(r"\bNatsBroker\(|\(NatsBroker\)", path.read_text())
    ]
    assert builders == ["shared/messaging/connection.py"]


def test_nothing_of_this_machine_or_of_a_registry_is_committed() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "http" not in text.replace("httpcore", "").replace("httptools", "").replace("httpx", "")
    assert "index" not in text


def _code_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
