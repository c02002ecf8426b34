"""``GET /v1/health``."""

from typing import Literal

from services.api.schemas.model import AnswerModel

State = Literal["ok", "degraded", "unavailable"]


class PartHealth(AnswerModel):
    """One part of the system."""

    state: State
    latency_ms: float | None = None
    detail: str | None = None


class HistoryPart(PartHealth):
    """The history service; ``latency_ms`` is the round trip, ``database`` is behind it."""

    database: State
    database_latency_ms: float | None = None
    backlog: int | None = None


class WorkerPart(AnswerModel):
    """A worker as it last reported itself."""

    id: str
    state: State
    slots: int
    free: int
    models: list[str]


class EnginePart(PartHealth):
    """An engine as its worker last saw it."""

    url: str
    kind: str
    version: str | None = None


class HealthBody(AnswerModel):
    """``status`` is ``unavailable`` (HTTP 503) when no completion can be served."""

    status: State
    nats: PartHealth
    history: HistoryPart
    workers: list[WorkerPart]
    engines: list[EnginePart]


class LlmServerBody(AnswerModel):
    """Engines and workers; ``ok`` is false (HTTP 503) when no completion can be served.

    ``latencyMs`` is that of the fastest engine that answers, ``models`` are what can be asked for.
    """

    status: State
    ok: bool
    latency_ms: float | None
    models: list[str]
    workers: list[WorkerPart]
    engines: list[EnginePart]


class WorkersPart(AnswerModel):
    """All workers; slots are those of workers that reach their engine."""

    state: State
    count: int | None
    """Null for strangers, as ``slots`` and ``free``."""
    slots: int | None
    free: int | None


class QueuePart(AnswerModel):
    """Requests that are waiting or running, of all models; null while that is not known."""

    requests: int | None


class StatusBody(AnswerModel):
    """For a status bar; ``status`` is ``unavailable`` when no completion can be served."""

    status: State
    gateway: PartHealth
    broker: PartHealth
    history: HistoryPart
    workers: WorkersPart
    models: list[str]
    queue: QueuePart
