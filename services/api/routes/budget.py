"""``budget/`` on both faces: what the calling user's month has left."""

from services.api.deps import CallerDep, StateDep
from services.api.limits.budget import account_of
from services.api.reports.budget_answers import to_budget_body
from services.api.routes.faces import FacedRouter
from services.api.schemas.budget import BudgetBody

router = FacedRouter("/budget", errors=(503,))


@router.get("", summary="What is left of this month's budget")
async def budget(state: StateDep, caller: CallerDep) -> BudgetBody:
    """Of the user, and of the API key that this is asked with, where it has one of its own."""
    budgets = state["limits"].budgets
    month = account_of(caller.user_id, None, state["clock"].now())
    return to_budget_body(await budgets.look(caller), month, budgets.currency)
