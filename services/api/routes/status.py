"""``health/llm_server/`` (requirements 5) and ``status/`` on both faces."""

from fastapi import Response

from services.api.deps import GreetedDep, State, StateDep
from services.api.reports.health_answers import to_llm_server_body, to_status_body
from services.api.reports.health_views import llm_server_for, status_for
from services.api.routes.faces import FacedRouter
from services.api.schemas.health import LlmServerBody, StatusBody

router = FacedRouter("", errors=())


@router.get(
    "/health/llm_server",
    summary="How engines and workers are",
    responses={503: {"model": LlmServerBody, "description": "No completion can be served"}},
)
async def llm_server(state: StateDep, caller: GreetedDep, response: Response) -> LlmServerBody:
    """``ok``; ``degraded`` when completions work but some worker's do not; else 503."""
    serving = await state["health"].serving()
    body = to_llm_server_body(serving, _models(state), stopping=state["drain"].begun)
    if not body.ok:
        response.status_code = 503
    return llm_server_for(caller, body)


@router.get("/status", summary="Every part on one line each")
async def status(state: StateDep, caller: GreetedDep) -> StatusBody:
    """For a status bar: 200 whatever is down, and it says what is."""
    report = await state["health"].check()
    body = to_status_body(
        report, _models(state), state["backlog"].requests(), stopping=state["drain"].begun
    )
    return status_for(caller, body)


def _models(state: State) -> list[str]:
    return [offer.id for offer in state["catalog"].models()]
