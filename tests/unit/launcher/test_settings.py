"""The launcher's settings."""

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.errors import WrongSetting
from deploy.local.settings import LauncherSettings, read_environment, unused_names


def test_without_any_variable_the_defaults_hold() -> None:
    settings = LauncherSettings.from_environment({"PATH": "/bin", "NATS_URL": ""})

    assert settings.data_dir == Path(".parley")
    assert settings.nats_url is None
    assert settings.engine_urls == ()
    assert settings.drain_grace == timedelta(seconds=45)


@pytest.mark.parametrize(
    ("environment", "urls"),
    [
        ({"INFERENCE_SERVICE_URL": "http://c"}, ("http://c",)),
        ({"INFERENCE_SERVICE_URL": "http://c", "LLM_SERVER_URL": "http://b"}, ("http://b",)),
        ({"LLM_SERVER_URL": "http://b", "OLLAMA_BASE_URL": "http://a/"}, ("http://a",)),
        ({"LLM_SERVER_URL": "http://b", "OLLAMA_BASE_URL": ""}, ("http://b",)),
        ({"OLLAMA_BASE_URL": "http://a:1, https://b,http://a:1"}, ("http://a:1", "https://b")),
    ],
)
def test_the_strongest_name_gives_the_engines(
    environment: dict[str, str], urls: tuple[str, ...]
) -> None:
    assert LauncherSettings.from_environment(environment).engine_urls == urls


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARLEY_STOP_GRACE", "soon"),
        ("PARLEY_READY_TIMEOUT", "0s"),
        ("NATS_URL", "localhost:4222"),
        ("NATS_URL", "nats://localhost:port"),
        ("MONGODB_URL", "http://localhost"),
        ("OLLAMA_BASE_URL", "localhost:11434"),
        ("LLM_SERVER_URL", "ftp://localhost"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(WrongSetting, match=name) as failure:
        LauncherSettings.from_environment({name: value})

    assert failure.value.exit_code == 2
    assert "\n" not in str(failure.value)


def test_a_wrong_address_does_not_show_its_password() -> None:
    with pytest.raises(WrongSetting) as failure:
        LauncherSettings.from_environment({"MONGODB_URL": "mongo://me:secret@host"})

    assert "secret" not in str(failure.value)


def test_the_real_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("LLM_TIMEOUT=10s\nLLM_MAX_TOKENS=5\nLONELY\n")
    monkeypatch.setenv("LLM_TIMEOUT", "20s")

    environment = read_environment(file)

    assert environment["LLM_TIMEOUT"] == "20s"
    assert environment["LLM_MAX_TOKENS"] == "5"
    assert "LONELY" not in environment


def test_names_of_other_products_are_listed_as_not_used() -> None:
    environment = {"REDIS_URL": "redis://x", "DB_HOST": "x", "DB_PORT": "", "DBX": "x"}

    assert unused_names(environment) == ("DB_HOST", "REDIS_URL")
