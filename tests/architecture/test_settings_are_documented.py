"""Every setting stands in README.md and .env.example, with the default that the code has."""

import importlib
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
MODULES = (
    "deploy.local.settings",
    "shared.settings",
    "deploy.provisioning.settings",
    "services.api.settings",
    "services.api.budget_settings",
    "services.api.http_settings",
    "services.api.oidc_settings",
    "services.api.llm_settings",
    "services.inference_worker.settings",
    "services.history.settings",
)


class Setting(NamedTuple):
    name: str
    also: tuple[str, ...]
    default: str
    description: str

    def row(self) -> str:
        """The row of README's table."""
        also = f" (also {', '.join(f'`{name}`' for name in self.also)})" if self.also else ""
        return f"| `{self.name}`{also} | {self.default or '—'} | {self.description} |"


def settings() -> list[Setting]:
    """All of them, the launcher's first; one that two processes read stands once."""
    found: dict[str, Setting] = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for thing in vars(module).values():
            if isinstance(thing, type) and thing.__module__ == module_name:
                for setting in _of(thing):
                    known = found.setdefault(setting.name, setting)
                    # The launcher's description, and the other names that a service knows.
                    found[setting.name] = known._replace(also=known.also or setting.also)
    return list(found.values())


def _of(cls: type) -> Iterator[Setting]:
    if not issubclass(cls, BaseModel) or not cls.__name__.endswith("Settings"):
        return
    if cls.__name__ == "Settings":
        return
    prefix = str(cls.model_config.get("env_prefix") or "")
    for name, field in cls.model_fields.items():
        first, *others = _names(prefix, name, field)
        yield Setting(first, tuple(others), _default(field), field.description or "")


def _names(prefix: str, name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [str(alias)] if alias else [f"{prefix}{name}".upper()]


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, timedelta):
        return f"`{_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None or value is PydanticUndefined or value == ():
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


ALL = settings()


def test_there_are_settings_of_every_part() -> None:
    prefixes = {setting.name.split("_")[0] for setting in ALL}
    assert {"PARLEY", "NATS", "CHAT", "WORKER", "API", "HISTORY", "PROVISION", "LLM"} <= prefixes
    assert issubclass(BaseSettings, BaseModel)


@pytest.mark.parametrize("setting", ALL, ids=[setting.name for setting in ALL])
def test_a_setting_is_described_in_the_readme_and_the_example(setting: Setting) -> None:
    assert setting.description, "a setting without a description helps nobody"
    assert setting.row() in (ROOT / "README.md").read_text()
    default = setting.default.strip("`")
    assert f"#{setting.name}={default}" in (ROOT / ".env.example").read_text()
