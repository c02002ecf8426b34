"""``GET budget/``."""

from datetime import date
from typing import Literal

from services.api.schemas.model import AnswerModel


class TokensLeftBody(AnswerModel):
    """Tokens of prompts and answers, as the engines counted them."""

    limit: int
    used: int
    remaining: int


class MoneyLeftBody(AnswerModel):
    """Decimal text with six digits after the point, as ``cost`` in usage."""

    limit: str
    used: str
    remaining: str


class BudgetLineBody(AnswerModel):
    """One budget: the user's, over all keys, or that of this key. Null: no limit of this kind."""

    of: Literal["user", "key"]
    tokens: TokensLeftBody | None
    money: MoneyLeftBody | None


class BudgetBody(AnswerModel):
    """Budgets of the calendar month, which begins and ends in UTC; none where nothing is limited.

    What is under way is not in it yet. An answer must fit into all of them.
    """

    month: str
    """``YYYY-MM``."""
    renewed_on: date
    currency: str
    budgets: list[BudgetLineBody]
