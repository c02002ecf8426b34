"""Settings that several services must read alike."""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.durations import Duration
from shared.nkey_seeds import read_seed


def _seed_file(value: object) -> object:
    """A file that holds a seed, which is looked at now: a sentence is better than a refusal."""
    if value is None or value == "":
        return None
    path = Path(str(value))
    read_seed(path)
    return path


class NatsSettings(BaseSettings):
    """How to reach the broker: ``NATS_URL``, several by commas."""

    model_config = SettingsConfigDict(env_prefix="NATS_", frozen=True, extra="ignore")

    url: str = Field(
        default="nats://127.0.0.1:4222", description="The broker; several addresses by commas."
    )
    request_timeout: Duration = Field(
        default=timedelta(seconds=2),
        gt=timedelta(0),
        description="For one request to the broker or a service.",
    )
    nkey_seed_file: Annotated[Path | None, BeforeValidator(_seed_file)] = Field(
        default=None,
        description="The file with the key that a service shows the broker; `parley up` gives "
        "each its own.",
    )

    @property
    def servers(self) -> list[str]:
        """The addresses in ``url``, one by one."""
        return [address.strip() for address in self.url.split(",") if address.strip()]


class DeadlineSettings(BaseSettings):
    """The two clocks of a completion, read by gateway and provisioning: ``CHAT_*``."""

    model_config = SettingsConfigDict(env_prefix="CHAT_", frozen=True, extra="ignore")

    waiting_deadline: Duration = Field(
        default=timedelta(minutes=5), gt=timedelta(0), description="Longest wait in the queue."
    )
    generating_deadline: Duration = Field(
        default=timedelta(minutes=10),
        gt=timedelta(0),
        description="Longest time from the pull to the end.",
    )


class AckSettings(BaseSettings):
    """After how much silence a worker is given up: ``WORKER_ACK_WAIT``, applied by provisioning."""

    model_config = SettingsConfigDict(env_prefix="WORKER_", frozen=True, extra="ignore")

    ack_wait: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(seconds=1),
        description="A worker silent for so long loses its request to another one.",
    )


_S = TypeVar("_S")


def load_or_exit(load: Callable[[], _S]) -> _S:
    """Read settings; a wrong one is a sentence on standard error and exit code 2, no traceback."""
    try:
        return load()
    except ValidationError as error:
        problems = [
            ": ".join(
                filter(None, (_variable(error.title, problem["loc"]), _plain(problem["msg"])))
            )
            for problem in error.errors(include_url=False, include_input=False)
        ]
        sys.stderr.write(f"Wrong setting: {'; '.join(problems)}.\n")
        raise SystemExit(2) from error


def _variable(title: str, location: tuple[int | str, ...]) -> str:
    """The environment variable behind a field, as a user knows no class names; may be empty."""
    if not location:
        return ""
    name = "_".join(str(part) for part in location)
    prefix = next(
        (
            cls.model_config.get("env_prefix")
            for cls in _settings_classes()
            if cls.__name__ == title
        ),
        "",
    )
    name = name.upper()
    return name if prefix and name.startswith(prefix) else f"{prefix or ''}{name}"


def _settings_classes(root: type[BaseSettings] = BaseSettings) -> list[type[BaseSettings]]:
    return [found for sub in root.__subclasses__() for found in (sub, *_settings_classes(sub))]


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")
