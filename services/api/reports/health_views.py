"""What of the health reports is for whom: strangers get states, without names and counts."""

from services.api.access.caller import Caller
from services.api.schemas.health import (
    HealthBody,
    HistoryPart,
    LlmServerBody,
    PartHealth,
    QueuePart,
    StatusBody,
    WorkerPart,
    WorkersPart,
)


def health_for(caller: Caller | None, body: HealthBody) -> HealthBody:
    """``/v1/health``."""
    if caller is None:
        return HealthBody(
            status=body.status,
            nats=_state_of(body.nats),
            history=_history(body.history),
            workers=[],
            engines=[],
        )
    return body.model_copy(update={"workers": _workers(caller, body.workers)})


def llm_server_for(caller: Caller | None, body: LlmServerBody) -> LlmServerBody:
    """``health/llm_server/``."""
    if caller is None:
        return LlmServerBody(
            status=body.status, ok=body.ok, latency_ms=None, models=[], workers=[], engines=[]
        )
    return body.model_copy(
        update={
            "models": [name for name in body.models if caller.may_ask(name)],
            "workers": _workers(caller, body.workers),
        }
    )


def status_for(caller: Caller | None, body: StatusBody) -> StatusBody:
    """``status/``."""
    if caller is None:
        return StatusBody(
            status=body.status,
            gateway=_state_of(body.gateway),
            broker=_state_of(body.broker),
            history=_history(body.history),
            workers=WorkersPart(state=body.workers.state, count=None, slots=None, free=None),
            models=[],
            queue=QueuePart(requests=None),
        )
    models = [name for name in body.models if caller.may_ask(name)]
    return body.model_copy(update={"models": models})


def _state_of(part: PartHealth) -> PartHealth:
    return PartHealth(state=part.state)


def _history(part: HistoryPart) -> HistoryPart:
    return HistoryPart(state=part.state, database=part.database)


def _workers(caller: Caller, workers: list[WorkerPart]) -> list[WorkerPart]:
    return [
        worker.model_copy(
            update={"models": [name for name in worker.models if caller.may_ask(name)]}
        )
        for worker in workers
    ]
