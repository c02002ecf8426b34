"""``/v1/health`` for people, ``/healthz`` and ``/readyz`` for machines."""

from fastapi import APIRouter, Response

from services.api.deps import GreetedDep, StateDep
from services.api.reports.health_answers import to_health_body
from services.api.reports.health_views import health_for
from services.api.schemas.health import HealthBody

router = APIRouter()


@router.get(
    "/v1/health",
    summary="How every part is",
    responses={503: {"model": HealthBody, "description": "No completion can be served"}},
)
async def health(state: StateDep, caller: GreetedDep, response: Response) -> HealthBody:
    """``ok``; ``degraded`` when completions work but something does not; else 503.

    Who has no token where one is needed gets states, without names and counts.
    """
    report = await state["health"].check()
    body = to_health_body(report, stopping=state["drain"].begun)
    if body.status == "unavailable":
        response.status_code = 503
    return health_for(caller, body)


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Always the same while it does."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it takes new work")
async def readyz(state: StateDep, response: Response) -> dict[str, str]:
    """Connected to the broker, its inbox proven, API keys known where they count, not stopping."""
    if state["drain"].begun:
        response.status_code = 503
        return {"status": "stopping"}
    if not state["broker"].ready() or not state["access"].identity.ready:
        response.status_code = 503
        return {"status": "unavailable"}
    return {"status": "ok"}
