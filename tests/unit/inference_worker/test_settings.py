"""What the worker reads from its environment."""

from datetime import timedelta

import pytest

from services.inference_worker.settings import EngineSettings, Settings, WorkerSettings
from shared.settings import load_or_exit


def test_the_defaults_are_an_ollama_on_this_machine() -> None:
    settings = Settings()
    assert settings.engine.url == "http://127.0.0.1:11434"
    assert settings.worker.slots == 4
    assert settings.worker.coalesce == timedelta(0)


def test_the_names_of_the_requirements_work_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_URL", "http://third:1")
    assert EngineSettings().url == "http://third:1"
    monkeypatch.setenv("LLM_SERVER_URL", "http://second:1/")
    assert EngineSettings().url == "http://second:1"
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://first:1")
    assert EngineSettings().url == "http://first:1"
    monkeypatch.setenv("OLLAMA_BASE_URL", "")
    assert EngineSettings().url == "http://second:1"


def test_time_outs_of_the_requirements_are_between_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_TIMEOUT", "120")
    assert EngineSettings().token_timeout == timedelta(seconds=120)
    monkeypatch.setenv("INFERENCE_SERVICE_TIMEOUT", "30")
    assert EngineSettings().token_timeout == timedelta(seconds=30)
    monkeypatch.setenv("WORKER_TOKEN_TIMEOUT", "500ms")
    assert EngineSettings().token_timeout == timedelta(milliseconds=500)


def test_several_engines_are_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://a:1,http://b:1")

    with pytest.raises(SystemExit, match="2"):
        load_or_exit(Settings)

    error = capsys.readouterr().err
    assert "one worker drives one engine; parley up starts one per engine" in error
    assert "Wrong setting: OLLAMA_BASE_URL: " in error
    assert "Traceback" not in error


def test_durations_read_like_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_DRAIN_TIMEOUT", "2m")
    monkeypatch.setenv("WORKER_COALESCE", "20ms")
    monkeypatch.setenv("WORKER_FIRST_TOKEN_TIMEOUT", "10m")
    assert EngineSettings().first_token_timeout == timedelta(minutes=10)
    settings = WorkerSettings()
    assert settings.drain_timeout == timedelta(minutes=2)
    assert settings.coalesce == timedelta(milliseconds=20)
