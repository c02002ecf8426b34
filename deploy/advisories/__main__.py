"""``python -m deploy.advisories``: are the packages the pinned ones, and is anything known of them.

Exit code 1 where something is known against one of them or it is not the pinned one; with
``--strict`` also where nobody could be asked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from deploy.advisories.asking import Answer, Asking, ask
from deploy.advisories.pins import not_as_pinned, pins_of

_SERVICES: Final = ("osv", "pypi")


def main(arguments: list[str] | None = None) -> int:
    """Say what is wrong, or that nothing is, or that nobody knows."""
    asked = _parser().parse_args(arguments)
    constraints: Path = asked.constraints
    pins, wrong = pins_of(constraints.read_text(encoding="utf-8"))
    if asked.installed:
        wrong += not_as_pinned(Requirement(asked.installed), pins)
    if wrong:
        _say(*wrong)
        return 1
    asking = Asking(asked.service or _SERVICES, asked.osv_url, asked.ignore, asked.seconds)
    return _judged(ask(constraints, asking), strict=asked.strict)


def _judged(answers: list[Answer], *, strict: bool) -> int:
    *_, last = answers
    if last.found:
        _say("Known vulnerabilities:", *(f"  {line}" for line in last.found))
        return 1
    if last.failure is not None:
        reasons = "; ".join(f"{each.service}: {each.failure}" for each in answers)
        _say(f"ADVISORIES NOT ASKED, so nothing is known of these packages ({reasons}).")
        return int(strict)
    if last.unknown:
        names = ", ".join(last.unknown)
        _say(f"ADVISORIES NOT ASKED for {names}, which {last.service} does not know.")
    _say(f"No advisory of {last.service} is about any of the {last.known} pinned packages.")
    return int(strict and bool(last.unknown))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.advisories", description=__doc__)
    parser.add_argument("--constraints", type=Path, default=Path("constraints.txt"))
    parser.add_argument("--installed", metavar="NAME[EXTRA]", help="compare with what this needs")
    parser.add_argument("--strict", action="store_true", help="fail where nobody could be asked")
    parser.add_argument("--service", action="append", choices=_SERVICES, help="instead of both")
    parser.add_argument("--osv-url", help="another server with OSV's API")
    parser.add_argument("--ignore", action="append", default=[], metavar="ID")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each service")
    return parser


if __name__ == "__main__":
    sys.exit(main())
