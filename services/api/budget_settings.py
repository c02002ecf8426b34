"""Settings of what a month may cost: ``API_*``."""

import json
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.api.prices import PriceTable, once_each, parse_price_table
from shared.contracts.ids import UserId


class UserBudget(BaseModel):
    """What one user may use in a month; 0 is any amount."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(default=0, ge=0, strict=True)
    money: Decimal = Field(default=Decimal(0), ge=0, decimal_places=6)


def parse_user_budgets(value: object) -> object:
    """Read the setting; what is not text is left to pydantic.

    Raises:
        ValueError: not JSON, or a user stands twice in it.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(
            value.strip() or "{}",
            parse_float=Decimal,
            object_pairs_hook=once_each("the budgets of users"),
        )
    except json.JSONDecodeError as error:
        message = f"the budgets are not valid JSON: {error.msg} (at character {error.pos})"
        raise ValueError(message) from error


class BudgetSettings(BaseSettings):
    """How much a month may cost, and what costs how much."""

    model_config = SettingsConfigDict(env_prefix="API_", frozen=True, extra="ignore")

    tokens_per_month: int = Field(
        default=0,
        ge=0,
        description="Tokens that a user may use in a calendar month (UTC), over all gateways; 0 "
        "for any number.",
    )
    money_per_month: Decimal = Field(
        default=Decimal(0),
        ge=0,
        decimal_places=6,
        description="Money that a user may use up in a month, by API_PRICES; 0 for any amount.",
    )
    user_budgets: Annotated[
        dict[UserId, UserBudget], NoDecode, BeforeValidator(parse_user_budgets)
    ] = Field(
        default_factory=dict,
        description='What users have instead of these two, by name: `{"alice": {"tokens": '
        '5000000, "money": 20}, "bob": {}}`; what is not said is any amount.',
    )
    prices: Annotated[InstanceOf[PriceTable], NoDecode, BeforeValidator(parse_price_table)] = Field(
        default_factory=PriceTable,
        description='Money per million tokens by model, the first name that fits: `{"llama*": '
        '{"prompt": 0.15, "completion": 0.6}}`, or the path of a file with that; others cost 0.',
    )
    currency: str = Field(
        default="USD", pattern=r"^[A-Za-z]{1,16}$", description="What the prices are in."
    )

    @model_validator(mode="after")
    def _money_has_prices(self) -> Self:
        if self.prices.prices:
            return self
        if self.money_per_month:
            raise ValueError("API_MONEY_PER_MONTH limits nothing unless API_PRICES has prices")
        if any(budget.money for budget in self.user_budgets.values()):
            raise ValueError("API_USER_BUDGETS limits no money unless API_PRICES has prices")
        return self
