"""``models/`` of the two faces: what is offered, and what this installation says of it."""

from typing import Annotated

from pydantic import Field

from services.api.schemas.chat import Number, Tokens
from services.api.schemas.model import AnswerModel, Flag, RequestModel, Text
from services.api.schemas.models import ModelMetadata


class ModelSettingsRequest(RequestModel):
    """All that is said of a model: what is absent has no value."""

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    max_tokens: Tokens | None = None
    tools: Flag | None = None
    """Whether tools may be used with it in sessions; null leaves it to ``LLM_ENABLE_TOOLS``."""
    hidden: Flag = False
    """Whether lists leave it out; who names it can still use it."""


class ModelSettingsBody(AnswerModel):
    """What is said of a model."""

    temperature: float | None
    max_tokens: int | None
    tools: bool | None
    hidden: bool


class EffectiveBody(AnswerModel):
    """What holds in sessions where neither request, session nor user says anything."""

    temperature: float | None
    max_tokens: int | None
    tools: bool


class OfferedModelBody(AnswerModel):
    """A model that live workers offer."""

    id: str
    display_label: str
    context_length: int | None
    capabilities: list[str]
    metadata: ModelMetadata
    settings: ModelSettingsBody
    effective: EffectiveBody
    """``settings``, and ``LLM_*`` where they say nothing; null is the engine's own default."""
    is_default: bool
    is_preferred: bool


class OfferedModelsBody(AnswerModel):
    """Models by name, and those that are taken where nobody names one."""

    models: list[OfferedModelBody]
    default_model: str | None
    preferred_model: str | None


class FailedWorkerBody(AnswerModel):
    """A worker that could not list its engine, or does not offer all of it."""

    worker: str
    error: str


class SyncBody(AnswerModel):
    """What has changed in the list of models."""

    added: list[str]
    removed: list[str]
    updated: list[str]
    workers: int
    """How many have listed their engine without a failure."""
    failed: list[FailedWorkerBody]


class DefaultModelRequest(RequestModel):
    """The model of those who name none; null takes the choice back."""

    model: Annotated[Text, Field(min_length=1, max_length=256)] | None


class DefaultModelBody(AnswerModel):
    """The model of those who name none, and have no preference."""

    default_model: str | None
