"""``usage/`` and ``health/stats/`` on both faces: for the calling user alone."""

from typing import Annotated, Final, Literal

from fastapi import Query, Response

from services.api.deps import StateDep, UserDep
from services.api.reports.usage_answers import csv_name, to_csv, to_stats_body, to_usage_body
from services.api.routes.faces import FacedRouter
from services.api.schemas.usage import StatsBody, UsageBody

router = FacedRouter("", errors=(400, 503))

_TABLE: Final = {
    "responses": {"200": {"content": {"text/csv": {"schema": {"type": "string"}}}}},
}


@router.get(
    "/usage", summary="Usage by day or by model", response_model=UsageBody, openapi_extra=_TABLE
)
async def usage(
    state: StateDep,
    user: UserDep,
    first: Annotated[str | None, Query(alias="from", description="YYYY-MM-DD, UTC")] = None,
    last: Annotated[str | None, Query(alias="to", description="YYYY-MM-DD, UTC")] = None,
    group: Literal["day", "model"] = "day",
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> UsageBody | Response:
    """The last 30 days unless ``from`` and ``to`` say otherwise, at most 366; both are included."""
    statement = await state["accounting"].statement(user, first, last, group)
    if form == "json":
        return to_usage_body(statement)
    name = csv_name(statement)
    return Response(
        to_csv(statement),
        media_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get("/health/stats", summary="What the calling user has and uses", errors=(503,))
async def stats(state: StateDep, user: UserDep) -> StatsBody:
    """Sessions and messages now; requests, tokens and times of the last 30 days."""
    return to_stats_body(await state["accounting"].stats(user))
