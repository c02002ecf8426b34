"""``/v1/health`` for people, ``/healthz`` and ``/readyz`` for machines."""

from fastapi import APIRouter, Response

from services.api.deps import StateDep
from services.api.health import HistoryState, Report
from services.api.schemas.health import (
    EnginePart,
    HealthBody,
    HistoryPart,
    PartHealth,
    State,
    WorkerPart,
)
from shared.contracts.workers import WorkerAnnouncement

router = APIRouter()


@router.get(
    "/v1/health",
    summary="How every part is",
    responses={503: {"model": HealthBody, "description": "No completion can be served"}},
)
async def health(state: StateDep, response: Response) -> HealthBody:
    """``ok``; ``degraded`` when completions work but something does not; else 503."""
    report = await state["health"].check()
    serves = report.serves and not state["drain"].begun
    if not serves:
        response.status_code = 503
    flawless: State = "ok" if report.flawless else "degraded"
    return HealthBody(
        status=flawless if serves else "unavailable",
        nats=_nats(report),
        history=_history(report.history),
        workers=[_worker(worker) for worker in report.workers],
        engines=_engines(report.workers),
    )


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Always the same while it does."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it takes new work")
async def readyz(state: StateDep, response: Response) -> dict[str, str]:
    """Connected to the broker, its inbox proven, and not stopping."""
    if state["drain"].begun:
        response.status_code = 503
        return {"status": "stopping"}
    if not state["broker"].ready():
        response.status_code = 503
        return {"status": "unavailable"}
    return {"status": "ok"}


def _nats(report: Report) -> PartHealth:
    if report.nats_latency is None:
        return PartHealth(state="unavailable", detail="no answer")
    return PartHealth(state="ok", latency_ms=_ms(report.nats_latency))


def _history(history: HistoryState) -> HistoryPart:
    answer = history.answer
    if answer is None:
        return HistoryPart(state="unavailable", database="unavailable", detail="no answer")
    return HistoryPart(
        state="ok" if answer.database_ok else "degraded",
        latency_ms=_ms(history.latency),
        database="ok" if answer.database_ok else "unavailable",
        database_latency_ms=answer.database_latency_ms,
        backlog=answer.backlog,
    )


def _worker(worker: WorkerAnnouncement) -> WorkerPart:
    return WorkerPart(
        id=worker.worker_id,
        state="ok" if worker.engine.ok else "degraded",
        slots=worker.slots,
        free=worker.free,
        models=[card.name for card in worker.models],
    )


def _engines(workers: list[WorkerAnnouncement]) -> list[EnginePart]:
    # Several workers may drive one engine; the one that reaches it speaks for it.
    engines = {}
    for worker in sorted(workers, key=lambda worker: worker.engine.ok):
        engine = worker.engine
        engines[engine.url] = EnginePart(
            url=engine.url,
            kind=engine.kind,
            state="ok" if engine.ok else "unavailable",
            latency_ms=engine.latency_ms,
            detail=engine.error,
            version=engine.version,
        )
    return [engines[url] for url in sorted(engines)]


def _ms(seconds: float | None) -> float | None:
    return round(seconds * 1000, 2) if seconds is not None else None
