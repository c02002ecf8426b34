"""The first who says something wins: request, session, user, model, installation."""

from typing import Any

import pytest

from services.api.llm_settings import LlmSettings
from services.api.sessions.defaults import default_model, resolve, settings_of
from shared.contracts.history import SessionSettings
from shared.contracts.presets import AllModelSettings, ModelSettings

NOTHING = SessionSettings()
NO_LLM = LlmSettings()


def said(**settings: object) -> AllModelSettings:
    """What is said of the model ``m``."""
    of_model = ModelSettings.model_validate({"model": "m:latest", **settings})
    return AllModelSettings(models=[of_model])


def turn(
    *said_by: SessionSettings,
    known: AllModelSettings | None = None,
    llm: LlmSettings = NO_LLM,
    offered: tuple[str, ...] = ("m",),
) -> SessionSettings:
    """What holds for a turn; ``said_by`` are request, session and user, as far as they speak."""
    request, session, user = (*said_by, NOTHING, NOTHING, NOTHING)[:3]
    return resolve(request, session, user, known or AllModelSettings(), llm, offered=offered)


FIELDS: list[tuple[str, list[Any]]] = [
    ("model", ["a", "b", "c"]),
    ("temperature", [0.1, 0.2, 0.3]),
    ("temperature", [0.0, 0.2, 0.3]),
    ("top_p", [0.1, 0.2, 0.3]),
    ("max_tokens", [1, 2, 3]),
    ("system_prompt", ["a", "b", "c"]),
    ("system_prompt", ["", "b", "c"]),
    ("tools", [["a"], ["b"], ["c"]]),
    ("tools", [[], ["b"], ["c"]]),
]


@pytest.mark.parametrize(("field", "values"), FIELDS)
def test_request_comes_before_session_before_user(field: str, values: list[Any]) -> None:
    speakers = [SessionSettings(**{field: value}) for value in values]
    for silent in range(3):
        heard = [NOTHING] * silent + speakers[silent:]
        assert getattr(turn(*heard), field) == values[silent]


def test_each_field_goes_its_own_way() -> None:
    settings = turn(
        SessionSettings(temperature=0.1),
        SessionSettings(model="s", temperature=0.2, tools=["a"]),
        SessionSettings(model="u", max_tokens=5, system_prompt="Brief."),
    )
    assert settings == SessionSettings(
        model="s", temperature=0.1, max_tokens=5, system_prompt="Brief.", tools=["a"]
    )


def test_the_models_own_settings_come_after_the_user_and_before_the_installation() -> None:
    llm = LlmSettings(temperature=0.7, max_tokens=2000)
    known = said(temperature=0.0, max_tokens=100)

    assert turn(known=known, llm=llm).temperature == 0.0
    assert turn(known=known, llm=llm).max_tokens == 100
    user = SessionSettings(temperature=0.4, max_tokens=7)
    heard = turn(NOTHING, NOTHING, user, known=known, llm=llm)
    assert (heard.temperature, heard.max_tokens) == (0.4, 7)
    # Of another model they say nothing.
    elsewhere = turn(SessionSettings(model="n"), known=known, llm=llm)
    assert (elsewhere.temperature, elsewhere.max_tokens) == (0.7, 2000)


def test_where_nobody_says_anything_the_engine_decides() -> None:
    assert turn() == SessionSettings(model="m")
    assert turn(offered=()) == NOTHING


@pytest.mark.parametrize(
    ("of_model", "enabled", "tools"),
    [
        (None, True, ["a"]),
        (None, False, []),
        (True, True, ["a"]),
        (True, False, ["a"]),
        (False, True, []),
        (False, False, []),
    ],
)
def test_tools_are_a_switch_that_nobodys_list_passes(
    of_model: bool | None, enabled: bool, tools: list[str]
) -> None:
    for speaker in range(3):
        heard = [NOTHING] * speaker + [SessionSettings(tools=["a"])]
        llm = LlmSettings(enable_tools=enabled)
        assert turn(*heard, known=said(tools=of_model), llm=llm).tools == tools


@pytest.mark.parametrize(
    ("chosen", "llm", "offered", "default"),
    [
        (None, None, ["a", "b"], "a"),
        (None, "b", ["a", "b"], "b"),
        (None, "b:latest", ["a", "b"], "b:latest"),
        (None, "qwen3:8b", ["a", "b"], "a"),
        (None, "qwen3:8b", [], "qwen3:8b"),
        (None, None, [], None),
        ("b:latest", "a", ["a", "b"], "b"),
        ("gone:latest", "a", ["a", "b"], "gone"),
        (None, None, ["hidden", "b"], "b"),
        (None, "hidden", ["hidden", "b"], "hidden"),
        (None, None, ["hidden"], None),
    ],
)
def test_the_default_model_is_the_chosen_one_else_one_that_is_served(
    chosen: str | None, llm: str | None, offered: list[str], default: str | None
) -> None:
    known = AllModelSettings(
        models=[ModelSettings(model="hidden:latest", hidden=True)], default_model=chosen
    )
    assert default_model(known, LlmSettings(default_model=llm), offered) == default


@pytest.mark.parametrize(
    ("chosen", "llm", "may", "default"),
    [
        ("b:latest", None, "ab", "b"),
        ("b:latest", None, "ac", "a"),
        ("b:latest", "c", "ac", "c"),
        (None, "b", "c", "c"),
        (None, "b", "h", None),
        (None, "gone", "x", None),
        ("b:latest", "gone", "g", "gone"),
        ("b:latest", "b", "", None),
    ],
)
def test_a_default_that_may_not_be_asked_is_passed_over(
    chosen: str | None, llm: str | None, may: str, default: str | None
) -> None:
    known = AllModelSettings(
        models=[ModelSettings(model="hidden:latest", hidden=True)], default_model=chosen
    )
    offered, settings = ["a", "b", "c", "hidden"], LlmSettings(default_model=llm)
    assert default_model(known, settings, offered, lambda name: name[0] in may) == default
    preferring = resolve(
        NOTHING,
        NOTHING,
        SessionSettings(model="b"),
        known,
        settings,
        offered=offered,
        may_ask=lambda name: name[0] in may,
    )
    assert preferring.model == ("b" if "b" in may else default)


def test_settings_are_found_with_and_without_the_tag() -> None:
    for name in ("m", "m:latest"):
        assert settings_of(name, said(temperature=1)).temperature == 1
    assert settings_of("m:8b", said(temperature=1)) == ModelSettings(model="m:8b")
    assert settings_of(None, said(temperature=1)).temperature is None


def test_the_environment_of_the_requirements_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("LLM_DEFAULT_MODEL", "qwen3:8b"),
        ("LLM_MAX_TOKENS", "2000"),
        ("LLM_TEMPERATURE", "0.7"),
        ("LLM_ENABLE_TOOLS", "false"),
    ):
        monkeypatch.setenv(name, value)
    assert LlmSettings() == LlmSettings(
        default_model="qwen3:8b", max_tokens=2000, temperature=0.7, enable_tools=False
    )
    monkeypatch.setenv("LLM_MAX_TOKENS", "")
    assert LlmSettings().max_tokens is None
