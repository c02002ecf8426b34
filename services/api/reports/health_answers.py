"""How the parts are, as the health, engine and status routes show them: pure."""

from services.api.reports.health import HistoryState, Report, Serving
from services.api.schemas.health import (
    EnginePart,
    HealthBody,
    HistoryPart,
    LlmServerBody,
    PartHealth,
    QueuePart,
    State,
    StatusBody,
    WorkerPart,
    WorkersPart,
)
from shared.contracts.workers import WorkerAnnouncement


def to_health_body(report: Report, *, stopping: bool) -> HealthBody:
    """Every part in full."""
    workers = report.serving.workers
    return HealthBody(
        status=_state(report.flawless, report.serves and not stopping),
        nats=_nats(report.serving),
        history=_history(report.history),
        workers=[_worker(worker) for worker in workers],
        engines=_engines(workers),
    )


def to_llm_server_body(serving: Serving, models: list[str], *, stopping: bool) -> LlmServerBody:
    """Engines and workers."""
    engines = _engines(serving.workers)
    latencies = [
        engine.latency_ms
        for engine in engines
        if engine.state == "ok" and engine.latency_ms is not None
    ]
    status = _state(serving.flawless, serving.serves and not stopping)
    return LlmServerBody(
        status=status,
        ok=status != "unavailable",
        latency_ms=min(latencies, default=None),
        models=models,
        workers=[_worker(worker) for worker in serving.workers],
        engines=engines,
    )


def to_status_body(
    report: Report, models: list[str], requests: int | None, *, stopping: bool
) -> StatusBody:
    """All parts on one line each."""
    workers = report.serving.workers
    served = [worker for worker in workers if worker.engine.ok]
    return StatusBody(
        status=_state(report.flawless, report.serves and not stopping),
        gateway=PartHealth(state="unavailable", detail="stopping")
        if stopping
        else PartHealth(state="ok"),
        broker=_nats(report.serving),
        history=_history(report.history),
        workers=WorkersPart(
            state=_state(len(served) == len(workers), bool(served)),
            count=len(workers),
            slots=sum(worker.slots for worker in served),
            free=sum(worker.free for worker in served),
        ),
        models=models,
        queue=QueuePart(requests=requests),
    )


def _state(flawless: bool, serves: bool) -> State:
    if not serves:
        return "unavailable"
    return "ok" if flawless else "degraded"


def _nats(serving: Serving) -> PartHealth:
    if serving.nats_latency is None:
        return PartHealth(state="unavailable", detail="no answer")
    return PartHealth(state="ok", latency_ms=_ms(serving.nats_latency))


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
