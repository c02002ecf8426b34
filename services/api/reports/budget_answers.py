"""Budgets as JSON bodies: pure."""

from collections.abc import Sequence
from decimal import Decimal

from services.api.limits.budget import Account
from services.api.limits.budgets import Line
from services.api.prices import money, plus
from services.api.schemas.budget import (
    BudgetBody,
    BudgetLineBody,
    MoneyLeftBody,
    TokensLeftBody,
)


def to_budget_body(lines: Sequence[Line], month: Account, currency: str) -> BudgetBody:
    """What this month has left, as JSON."""
    return BudgetBody(
        month=f"{month.first:%Y-%m}",
        renewed_on=month.renewed_on,
        currency=currency,
        budgets=[_line(line) for line in lines],
    )


def _line(line: Line) -> BudgetLineBody:
    budget, used = line.budget, line.used
    tokens = money_left = None
    if budget.tokens:
        left = max(0, budget.tokens - used.tokens)
        tokens = TokensLeftBody(limit=budget.tokens, used=used.tokens, remaining=left)
    if budget.money:
        rest = max(Decimal(0), plus(budget.money, -used.money))
        money_left = MoneyLeftBody(
            limit=money(budget.money), used=money(used.money), remaining=money(rest)
        )
    of = "user" if line.account.key_id is None else "key"
    return BudgetLineBody(of=of, tokens=tokens, money=money_left)
