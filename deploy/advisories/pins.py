"""``constraints.txt`` against itself and against what is installed; nothing is asked for this."""

import re
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_INSTALLER: Final = frozenset({"pip"})
"""It comes with the virtual environment, not from the constraints that it reads."""
_EXACT: Final = re.compile(r"==[A-Za-z0-9.+!]+")

Installed = Callable[[str], "tuple[str, list[Requirement]] | None"]
"""Version and requirements of an installed distribution, ``None`` for one that is not there."""


def pins_of(text: str) -> tuple[dict[str, str], list[str]]:
    """Versions by normalised name, and what is wrong with the other lines."""
    pins: dict[str, str] = {}
    wrong = []
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        try:
            pin = Requirement(line)
        except InvalidRequirement:
            wrong.append(f"{line!r} in the constraints is not a package and its version.")
            continue
        name = canonicalize_name(pin.name)
        if pin.url or not _EXACT.fullmatch(str(pin.specifier)):
            wrong.append(f"{name} is not pinned to one version in the constraints.")
        elif name in pins:
            wrong.append(f"{name} is pinned twice in the constraints.")
        else:
            pins[name] = str(pin.specifier).removeprefix("==")
    return pins, wrong


def installed(name: str) -> tuple[str, list[Requirement]] | None:
    """See ``Installed``."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, [Requirement(line) for line in found.requires or ()]


def not_as_pinned(
    root: Requirement, pins: dict[str, str], installed: Installed = installed
) -> list[str]:
    """What ``root`` needs, directly or not, and is not pinned, not there or another version."""
    wrong = []
    for name, extras in _needed(root, installed).items():
        if name == canonicalize_name(root.name) or name in _INSTALLER:
            continue
        found = installed(name)
        if found is None:
            asked = f"{name}[{','.join(sorted(extras))}]" if extras else name
            wrong.append(f"{asked} is needed and not installed; `make setup` installs it.")
        elif name not in pins:
            wrong.append(f"{name} {found[0]} is installed and not in the constraints.")
        elif found[0] != pins[name]:
            wrong.append(f"{name} is pinned to {pins[name]}, but {found[0]} is installed.")
    return sorted(wrong)


def _needed(root: Requirement, installed: Installed) -> dict[str, set[str]]:
    """Names with the extras that are asked of them, as far as one leads to the other."""
    needed: dict[str, set[str]] = {}
    ahead = [root]
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        known = needed.get(name)
        if known is not None and wanted.extras <= known:
            continue
        extras = needed.setdefault(name, set())
        extras |= wanted.extras
        found = installed(name)
        ahead.extend(_holding(found[1] if found else (), extras))
    return needed


def _holding(requirements: Iterable[Requirement], extras: set[str]) -> Iterable[Requirement]:
    for each in requirements:
        if each.marker is None or any(
            each.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield each
