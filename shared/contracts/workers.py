"""What workers say of themselves, and what may be asked of them."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from shared.contracts.ids import CompletionId
from shared.contracts.wire import WireModel


class ModelCard(WireModel):
    """A model as its engine describes it."""

    name: str
    """The engine's full name, with its tag: ``llama3.2:latest``."""
    family: str = ""
    format: str = ""
    """``GGUF`` and the like, in capitals as the requirements show it."""
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int | None = None
    """The window the engine has loaded or will load; the trained maximum where that is unknown."""
    capabilities: list[str] = Field(default_factory=list)
    modified_at: int = 0
    """Unix seconds."""


class EngineState(WireModel):
    """An engine as its worker last saw it."""

    url: str
    kind: Literal["ollama"] = "ollama"
    ok: bool
    version: str | None = None
    latency_ms: float | None = None
    error: str | None = None


class WorkerAnnouncement(WireModel):
    """Catalog entry ``worker.<id>``: put every 4 s, gone 12 s after the last put."""

    worker_id: str
    slots: int
    free: int
    models: list[ModelCard] = Field(default_factory=list)
    engine: EngineState


class WorkerProbe(WireModel):
    """Reply on ``chat.workers.<model>``: this worker serves the model now."""

    worker_id: str
    slots: int
    free: int


class EngineRelisted(WireModel):
    """Reply on ``chat.sync``, one of each worker, once its new list is announced.

    The request is empty.
    """

    worker_id: str
    models: list[ModelCard] = Field(default_factory=list)
    """What it offers now; in spite of an ``error`` what it goes on offering."""
    error: str | None = None
    """Why the engine could not be asked, or why a model of it is not offered."""


class ControlRequest(WireModel):
    """Request on ``chat.control.<completion_id>`` to whoever runs it."""

    op: Literal["cancel", "watched", "resend", "yield"]
    after: int | None = None
    """For ``resend``: the last index that the asker has; a snapshot goes out as a frame."""


class Watched(WireModel):
    """On ``chat.watched.<completion_id>``: this gateway has a viewer; said every 5 s, not kept."""

    gateway: str
    grace: bool | None = None
    """Its last viewer has left and may come back: counts for the worker, not for other gateways."""


class ControlReply(WireModel):
    """Answer of the running worker; ``ok`` is false for an operation it does not know."""

    ok: bool
    completion_id: CompletionId
    last_index: int = -1


class ProvisionModel(WireModel):
    """Request on ``chat.provision.model``: make this model's durables."""

    model: str


class Provisioned(WireModel):
    """The durables stand; ``ack_wait`` is what the broker really applies."""

    ok: bool
    ack_wait: timedelta | None = None
    error: str | None = None
