"""Flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.local.data_dir import DataDir

DataDirFlag = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept (default: .parley).")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="For programs.")]


def data_dir_of(flag: Path | None) -> DataDir:
    """The directory that the flag names, or the environment."""
    from deploy.local import settings

    if flag is None:
        environment = settings.read_environment()
        flag = settings.LauncherSettings.from_environment(environment).data_dir
    return DataDir(flag.absolute())
