"""Pinned is what stands with one version in the constraints; installed must be just that."""

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.advisories.pins import not_as_pinned, pins_of

ROOT = Path(__file__).parents[3]
THERE = {
    "parley": ("0.1", ["web>=1", "tool; extra == 'dev'", "gone; sys_platform == 'nowhere'"]),
    "web": ("1.2", ["Under_Score[fast]", "pip"]),
    "under-score": ("3.0", ["quick; extra == 'fast'", "web"]),
    "quick": ("4.0", []),
    "tool": ("5.0", []),
}
GOOD = {"web": "1.2", "under-score": "3.0", "quick": "4.0", "tool": "5.0"}


def there(name: str) -> tuple[str, list[Requirement]] | None:
    found = THERE.get(name)
    return (found[0], [Requirement(line) for line in found[1]]) if found else None


def wrong(pins: dict[str, str], root: str = "parley[dev]") -> list[str]:
    return not_as_pinned(Requirement(root), pins, there)


def test_what_is_installed_as_pinned_is_well() -> None:
    assert wrong(GOOD) == []


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_needed_anywhere_below_has_a_pin(name: str) -> None:
    pins = {other: version for other, version in GOOD.items() if other != name}
    assert wrong(pins) == [f"{name} {GOOD[name]} is installed and not in the constraints."]


def test_another_version_than_the_pinned_one_is_named() -> None:
    said = wrong({**GOOD, "quick": "4.0.1"})
    assert said == ["quick is pinned to 4.0.1, but 4.0 is installed."]


def test_what_is_not_there_is_named_once_with_what_installs_it() -> None:
    said = not_as_pinned(Requirement("web[missing]"), GOOD, lambda _name: None)
    assert said == []
    root = not_as_pinned(
        Requirement("parley"), GOOD, lambda name: there(name) if name != "web" else None
    )
    assert root == ["web is needed and not installed; `make setup` installs it."]


@pytest.mark.parametrize(
    "line",
    ["web>=1", "web", "web==1.*", "web==1,<2", "web @ https://h/web.whl", "web===1", "-e .", "?"],
)
def test_a_line_that_is_no_pin_is_named(line: str) -> None:
    pins, said = pins_of(f"# a comment\n\n{line}\ntool==5.0 ; python_version > '3' # why\n")
    assert pins == {"tool": "5.0"}
    assert len(said) == 1


def test_a_package_is_pinned_once_however_it_is_spelled() -> None:
    assert pins_of("a.b==1\nA_b==2\n") == (
        {"a-b": "1"},
        ["a-b is pinned twice in the constraints."],
    )


def test_the_constraints_of_this_project_pin_all_of_what_it_stands_on() -> None:
    pins, said = pins_of((ROOT / "constraints.txt").read_text())
    assert said == []
    assert not_as_pinned(Requirement("parley[dev]"), pins) == []
    assert pins["fastapi"] == metadata.version("fastapi")
