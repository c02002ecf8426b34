"""What the offer of a worker is made of: an engine's list, who offers it, and where it is told."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol

from services.inference_worker.lanes import Source
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement


class EngineView(NamedTuple):
    """An engine and its models, as it answered just now."""

    state: EngineState
    models: Sequence[ModelCard]


class EngineModels(Protocol):
    """What an engine has."""

    async def look(self) -> EngineView:
        """Ask it.

        Raises:
            EngineError: it did not answer, or not sensibly.
        """
        ...


class Directory(Protocol):
    """Where gateways read who serves what, and where queues for models are made.

    Raises (every call):
        BrokerUnavailable: the broker, or who provisions, did not answer.
    """

    async def provision(self, model: str) -> float:
        """Have the queues of ``model`` made; gives their ack wait in seconds."""
        ...

    async def announce(self, announcement: WorkerAnnouncement) -> None:
        """Say what this worker offers; forgotten 12 s later."""
        ...

    async def remember(self, model: str) -> None:
        """Note that a model of this name exists; forgotten a day later."""
        ...

    async def withdraw(self, worker_id: str) -> None:
        """This worker offers nothing any more."""
        ...


class Preflight(Protocol):
    """Answers gateways that ask who serves a model."""

    async def serve(self, models: Collection[str]) -> None:
        """From now on answer for these models and no others."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """Who offers."""

    id: str
    engine_url: str
    slots: int
    free: Callable[[], int]
    take_from: Callable[[Sequence[Source]], None]
    """Told the queues to take requests from, each time they change."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often to look and to tell."""

    check: timedelta = timedelta(seconds=10)
    announce: timedelta = timedelta(seconds=4)
