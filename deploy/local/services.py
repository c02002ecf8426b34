"""Run one service in this process: ``parley worker``, and what the launcher starts.

A service is imported only when it is run, so that ``parley history`` needs the extra ``history``
and no other.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Final

from deploy.local.errors import LauncherError, MissingPart, WrongSetting
from shared.settings import load_or_exit


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service's ``main`` is, and which extra brings what it imports."""

    module: str
    extra: str | None


SERVICES: Final = {
    "api": Service("services.api.__main__", "api"),
    "worker": Service("services.inference_worker.__main__", "worker"),
    "history": Service("services.history.__main__", "history"),
    "provision": Service("deploy.provisioning.__main__", None),
}
CHECK: Final = "check"
"""No service: reads the settings of those that start last, so that a wrong one is said first."""
_CHECKED: Final = {
    "api": "services.api.settings",
    "worker": "services.inference_worker.settings",
    "history": "services.history.settings",
}
_OURS: Final = ("services", "shared", "deploy")


def run(name: str, *, watch: bool = False) -> None:
    """Run a service until it ends; it reads its settings from the environment.

    Args:
        name: a key of ``SERVICES``.
        watch: for ``provision``: keep everything provisioned instead of doing it once.

    Raises:
        MissingPart: something it imports is not installed.
    """
    service = SERVICES[name]
    try:
        module = importlib.import_module(service.module)
    except ModuleNotFoundError as error:
        raise MissingPart(_sentence(name, service, error.name or "")) from error
    if name == "provision":
        module.main(watch=watch)
    else:
        module.main()


def check() -> None:
    """Read all settings from the environment, and do nothing.

    Raises:
        SystemExit: one is wrong; it has been said on standard error.
        MissingPart: something is not installed.
    """
    for name, module in _CHECKED.items():
        try:
            settings = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MissingPart(_sentence(name, SERVICES[name], error.name or "")) from error
        load_or_exit(settings.Settings)


def _sentence(name: str, service: Service, missing: str) -> str:
    if missing.partition(".")[0] in _OURS:
        return f"`parley {name}` is not part of this installation: {missing} is missing."
    needed = f"parley[{service.extra}]" if service.extra else "parley"
    return (
        f"`parley {name}` needs the Python package {missing}: "
        f"run `make setup` or `pip install '{needed}'`."
    )


def main(arguments: list[str]) -> int:
    """The launcher's way in, without the weight of a command-line library."""
    try:
        name, *flags = arguments
        if name == CHECK:
            check()
            return 0
        if name not in SERVICES:
            sentence = f"there is no service {name!r}."
            raise WrongSetting(sentence)
        run(name, watch="--watch" in flags)
    except LauncherError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
