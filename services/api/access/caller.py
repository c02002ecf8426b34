"""Who calls, as the rest of the gateway knows them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from services.api.access.refusals import ModelRefused, NotPermitted
from shared.contracts.api_keys import ADMIN
from shared.contracts.ids import UserId
from shared.contracts.subjects import full_model_name


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one caller may use where the settings of the gateway do not decide; None: they do."""

    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_month: int | None = None
    """The budget of the key alone: that of its user, by the settings, holds beside it."""
    money_per_month: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Made by whoever has checked the credentials; everything else believes it."""

    user_id: UserId
    roles: frozenset[str] = frozenset()
    key_id: str | None = None
    """Of the API key that was used, for the audit and for its own budget."""
    models: tuple[str, ...] = ("*",)
    """Patterns (``llama*``) of the models that may be asked."""
    allowance: Allowance = field(default_factory=Allowance)
    expires_at: datetime | None = None
    """When the credentials stop being valid."""
    anonymous: bool = False
    """Known by address only: such a one has no sessions, presets, usage or preferences."""

    def may_ask(self, model: str) -> bool:
        """Whether the model, with or without its tag, is one of this caller's."""
        if self.models == ("*",):
            return True
        full = full_model_name(model)
        names = {full, full.removesuffix(":latest")}
        return any(fnmatchcase(name, pattern) for pattern in self.models for name in names)

    def check_model(self, model: str) -> None:
        """Go on with a model that this caller may ask.

        Raises:
            ModelRefused: it is none; nothing tells it from one that does not exist.
        """
        if not self.may_ask(model):
            message = f"The model {model} does not exist."
            raise ModelRefused(message, param="model")

    def must_be_admin(self) -> None:
        """Go on with an administrator only.

        Raises:
            NotPermitted: the caller is none.
        """
        if ADMIN not in self.roles:
            raise NotPermitted("Only administrators may do this.")


LOCAL_USER: Final = UserId("local")
LOCAL_CALLER: Final = Caller(LOCAL_USER, roles=frozenset({ADMIN}))
"""Everyone, with ``API_AUTH=local``: whoever reaches a loopback port owns the machine."""
