"""Who calls, as the rest of the gateway knows them."""

from dataclasses import dataclass, field
from typing import Final

from shared.contracts.ids import UserId


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one caller may use where the settings of the gateway do not decide; None: they do."""

    requests_per_minute: int | None = None
    concurrent: int | None = None


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


LOCAL_USER: Final = UserId("local")
LOCAL_CALLER: Final = Caller(LOCAL_USER, roles=frozenset({"admin"}))
"""Everyone, with ``API_AUTH=local``: whoever reaches a loopback port owns the machine."""
