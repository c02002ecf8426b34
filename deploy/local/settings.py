"""The launcher's settings: read once from the environment and ``.env``, then passed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from deploy.local.errors import WrongSetting
from shared.durations import Duration

ENGINE_NAMES: Final = ("OLLAMA_BASE_URL", "LLM_SERVER_URL", "INFERENCE_SERVICE_URL")
"""Where the engine is, strongest name first; several engines are separated by commas."""

_UNUSED_NAMES: Final = frozenset({"REDIS_URL", "REDIS_HOST", "REDIS_PORT"})
_UNUSED_PREFIX: Final = "DB_"


def read_environment(dotenv: Path | None = None) -> dict[str, str]:
    """The user's environment over the ``.env`` of the current directory."""
    path = dotenv or Path(".env")
    merged: dict[str, str | None] = dict(dotenv_values(path)) if path.is_file() else {}
    merged.update(os.environ)  # noqa: TID251 - this is the launcher's settings.py
    return {name: value for name, value in merged.items() if value is not None}


def unused_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names that other products' documents ask for and Parley has no use for."""
    return tuple(
        sorted(
            n
            for n, v in environment.items()
            if v and (n in _UNUSED_NAMES or n.startswith(_UNUSED_PREFIX))
        )
    )


def _addresses(value: object, schemes: tuple[str, ...]) -> object:
    if not isinstance(value, str):
        return value
    addresses = tuple(dict.fromkeys(a.strip().rstrip("/") for a in value.split(",") if a.strip()))
    for address in addresses:
        parts = urlsplit(address)
        if parts.scheme not in schemes or not parts.hostname:
            sentence = f"an address starts with {' or '.join(s + '://' for s in schemes)}"
            raise ValueError(sentence)
        _ = parts.port  # raises ValueError on a port that is none
    return addresses


def _http_addresses(value: object) -> object:
    return _addresses(value, ("http", "https"))


def _nats_address(value: object) -> object:
    _addresses(value, ("nats", "tls", "ws", "wss"))
    return value


def _mongodb_address(value: object) -> object:
    if isinstance(value, str) and not value.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("an address starts with mongodb:// or mongodb+srv://")
    return value


Period = Annotated[Duration, Field(gt=timedelta(0))]


class LauncherSettings(BaseModel):
    """What ``parley up``, ``ps`` and ``chat`` read; the services read their own."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    data_dir: Path = Field(
        default=Path(".parley"),
        alias="PARLEY_DATA_DIR",
        description="Where `parley up` keeps everything.",
    )
    nats_url: Annotated[str | None, BeforeValidator(_nats_address)] = Field(
        default=None,
        alias="NATS_URL",
        description="The broker to use, several by commas; unset, `parley up` starts one.",
    )
    nats_keys_dir: Path | None = Field(
        default=None,
        alias="NATS_KEYS_DIR",
        description="The keys for the broker at NATS_URL, made by `python -m deploy.nats`; each "
        "service gets its own.",
    )
    mongodb_url: Annotated[str | None, BeforeValidator(_mongodb_address)] = Field(
        default=None,
        alias="MONGODB_URL",
        description="The database to use; unset, `parley up` starts one.",
    )
    engine_urls: Annotated[tuple[str, ...], BeforeValidator(_http_addresses)] = Field(
        default=(),
        alias=ENGINE_NAMES[0],
        description="Engines, by commas; unset: Ollama on its own port if it runs, else the demo.",
    )
    engine_api_key: SecretStr | None = Field(
        default=None,
        alias="INFERENCE_SERVICE_API_KEY",
        description="Bearer token for the engine, where something in front of it asks for one.",
    )
    worker_slots: int = Field(
        default=4,
        ge=1,
        alias="WORKER_SLOTS",
        description="Requests at once, over all models. The slots of all workers of an engine "
        "together are its OLLAMA_NUM_PARALLEL: more would wait in its own queue, unseen by "
        "everybody.",
    )
    ready_timeout: Period = Field(
        default=timedelta(seconds=20),
        alias="PARLEY_READY_TIMEOUT",
        description="How long a part may take until it is ready.",
    )
    stop_grace: Period = Field(
        default=timedelta(seconds=10),
        alias="PARLEY_STOP_GRACE",
        description="How long a part may take to stop before it is killed.",
    )
    drain_grace: Period = Field(
        default=timedelta(seconds=45),
        alias="PARLEY_DRAIN_GRACE",
        description="The same for gateways and workers, whose own drain time-outs are shorter.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        alias="PARLEY_API_KEY",
        description="What `parley chat` and `parley models sync` call with.",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> LauncherSettings:
        """Read the settings out of ``environment``; an empty value counts as unset.

        Raises:
            WrongSetting: names each wrong variable and says what it should look like.
        """
        given = {name: value for name, value in environment.items() if value}
        known = {field.alias for field in cls.model_fields.values()}
        values = {name: value for name, value in given.items() if name in known}
        engine_name = next((name for name in ENGINE_NAMES if name in given), None)
        if engine_name:
            values[ENGINE_NAMES[0]] = given[engine_name]
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise WrongSetting(_sentence(error, engine_name)) from None


def _sentence(error: ValidationError, engine_name: str | None) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        shown = engine_name if name == ENGINE_NAMES[0] and engine_name else name
        problems.append(f"{shown}: {problem['msg'].removeprefix('Value error, ')}")
    return f"a setting is wrong: {'; '.join(problems)}."
