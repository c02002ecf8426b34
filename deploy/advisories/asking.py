"""Ask an advisory service about pinned packages, through pip-audit.

pip-audit is content where nobody knew anything: an index that answers 404 for each package gives
"No known vulnerabilities found" and exit code 0. So its report is read, not its exit code.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_SOCKET_SECONDS: Final = 10
_LONGEST_REASON: Final = 120


@dataclass(frozen=True)
class Asking:
    """Whom to ask, and how long."""

    services: Sequence[str] = ("osv", "pypi")
    """In this order, until one knows the packages. OSV has PyPI's advisories, and more."""
    osv_url: str | None = None
    ignored: Sequence[str] = ()
    """Ids of advisories that somebody has judged."""
    seconds: float = 120.0
    """For each service, whatever it does."""


@dataclass(frozen=True)
class Answer:
    """What one service said."""

    service: str
    known: int = 0
    """How many packages it could say something about."""
    found: list[str] = field(default_factory=list)
    """A line for each advisory."""
    unknown: list[str] = field(default_factory=list)
    """Packages that it does not know."""
    failure: str | None = None
    """Why it said nothing at all."""


def ask(constraints: Path, asking: Asking) -> list[Answer]:
    """What the services said, in order; the last one is the one that counts."""
    answers = []
    for service in asking.services:
        answers.append(_ask(service, constraints, asking))
        if answers[-1].known:
            break
    return answers


def answer_of(service: str, report: str) -> Answer:
    """Read pip-audit's JSON.

    Raises:
        ValueError: it is none.
    """
    said = json.loads(report)
    if not isinstance(said, dict) or not isinstance(said.get("dependencies"), list):
        raise ValueError("no list of dependencies")  # noqa: TRY004 - the text is what is wrong
    found, unknown, known = [], [], 0
    for each in said["dependencies"]:
        if "skip_reason" in each:
            unknown.append(str(each["name"]))
            continue
        known += 1
        found += [_line(each, vulnerability) for vulnerability in each["vulns"]]
    failure = None if known else f"it knows none of {len(unknown)} packages"
    return Answer(service, known, found, unknown, failure)


def _line(package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    names = ", ".join((vulnerability["id"], *vulnerability.get("aliases", ())))
    fixes = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    return f"{package['name']} {package['version']}: {names}; mended in {fixes}"


def _ask(service: str, constraints: Path, asking: Asking) -> Answer:
    command = [
        *(sys.executable, "-m", "pip_audit", "--vulnerability-service", service),
        *("--requirement", str(constraints), "--disable-pip", "--no-deps"),
        *("--format", "json", "--progress-spinner", "off", "--timeout", str(_SOCKET_SECONDS)),
        *(("--osv-url", asking.osv_url) if asking.osv_url else ()),
        *(part for advisory in asking.ignored for part in ("--ignore-vuln", advisory)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=asking.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(service, failure=f"it did not answer within {asking.seconds:g} s")
    try:
        return answer_of(service, done.stdout)
    except (ValueError, KeyError, TypeError):
        return Answer(service, failure=_last_line(done.stderr))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_REASON] if lines else "pip-audit said nothing"
