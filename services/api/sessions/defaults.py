"""What holds for a turn of a session: the first who says something wins. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from services.api.completions.catalog import shown_name
from services.api.llm_settings import LlmSettings
from shared.contracts.history import SessionSettings
from shared.contracts.presets import AllModelSettings, ModelSettings
from shared.contracts.subjects import full_model_name

T = TypeVar("T")
May = Callable[[str], bool]
"""Whether a model may be asked."""


def anything(_model: str) -> bool:
    """Who has no patterns may ask every model."""
    return True


class Effective(NamedTuple):
    """The last word on a model; ``None`` is the engine's own default."""

    temperature: float | None
    max_tokens: int | None
    tools: bool


def resolve(
    request: SessionSettings,
    session: SessionSettings,
    preferences: SessionSettings,
    known: AllModelSettings,
    llm: LlmSettings,
    *,
    offered: Sequence[str] = (),
    may_ask: May = anything,
) -> SessionSettings:
    """Settings of one turn. Not for plain ``/v1``, which takes the request as it is.

    Each field is that of the first of request, session (its preset was copied into it when it was
    made), user, the model's settings and ``LLM_*`` that has one; zero, an empty text and an empty
    list are values. Two settings have rules of their own: see ``default_model`` and ``effective``.

    Args:
        request: What the request says.
        session: What the session says; a ``Session`` is one of these.
        preferences: What the user prefers.
        known: What is said of models, and the default of all users.
        llm: ``LLM_*``.
        offered: The models that live workers offer, by name.
        may_ask: Which of them the caller may: who names none is given none but those.

    Returns:
        ``None`` where nobody says anything: the engine's own default holds. ``model`` is ``None``
        only where nothing is offered that may be asked, and no default is set.
    """
    said = (request, session, preferences)
    preferred = preferences.model
    if preferred is not None and not may_ask(preferred):
        # Of this user, but not of this key.
        preferred = None
    named = _first([request.model, session.model, preferred])
    model = named or default_model(known, llm, offered, may_ask)
    rest = effective(settings_of(model, known), llm)
    return SessionSettings(
        model=model,
        temperature=_first([*(it.temperature for it in said), rest.temperature]),
        top_p=_first([it.top_p for it in said]),
        max_tokens=_first([*(it.max_tokens for it in said), rest.max_tokens]),
        system_prompt=_first([it.system_prompt for it in said]),
        # Whether tools may be used is no default but a switch: off, nobody's list counts.
        tools=_first([it.tools for it in said]) if rest.tools else [],
    )


def listed_tools(*said: SessionSettings) -> list[str]:
    """The tools that hold by name, the first who says something first, switched on or not."""
    return _first([it.tools for it in said]) or []


def default_model(
    known: AllModelSettings, llm: LlmSettings, offered: Sequence[str], may_ask: May = anything
) -> str | None:
    """The model of who names none: the one chosen for all users, else ``LLM_DEFAULT_MODEL``.

    A choice stands while no worker offers it: its users hear that, and are not given another
    model without a word. ``LLM_DEFAULT_MODEL`` counts only where a worker offers it; then comes the
    first model that is offered and not hidden, and ``LLM_DEFAULT_MODEL`` again if there is none.
    None of them counts for a caller who may not ask it.
    """
    if known.default_model is not None and may_ask(known.default_model):
        return shown_name(known.default_model)
    offered = [name for name in offered if may_ask(name)]
    full = {full_model_name(name) for name in offered}
    if llm.default_model is not None and full_model_name(llm.default_model) in full:
        return llm.default_model
    hidden = {it.model for it in known.models if it.hidden}
    shown = [name for name in offered if full_model_name(name) not in hidden]
    if shown:
        return shown[0]
    return llm.default_model if llm.default_model and may_ask(llm.default_model) else None


def effective(of_model: ModelSettings, llm: LlmSettings) -> Effective:
    """What holds for a model where neither request, session nor user says anything."""
    return Effective(
        temperature=_first([of_model.temperature, llm.temperature]),
        max_tokens=_first([of_model.max_tokens, llm.max_tokens]),
        tools=of_model.tools if of_model.tools is not None else llm.enable_tools,
    )


def settings_of(model: str | None, known: AllModelSettings) -> ModelSettings:
    """What is said of a model; nothing, if nothing is."""
    wanted = full_model_name(model) if model is not None else ""
    found = next((it for it in known.models if it.model == wanted), None)
    return found or ModelSettings(model=wanted)


def _first(values: Sequence[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
