"""API keys as they are stored."""

from datetime import datetime

from pydantic import Field

from services.history.records import Record, from_milliseconds
from shared.contracts.api_keys import ApiKey, KeyCopy, Money
from shared.contracts.ids import UserId


class KeyRecord(Record):
    """A key without the key: its hash tells whether somebody has it."""

    id: str
    digest: str
    prefix: str
    user_id: UserId
    name: str = ""
    roles: list[str] = Field(default_factory=list)
    models: list[str] | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_month: int | None = None
    money_per_month: Money | None = None
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def to_key(self) -> ApiKey:
        """What queries answer."""
        return ApiKey(
            **self.model_dump(exclude={"digest", "created_at", "expires_at", "revoked_at"}),
            created_at=from_milliseconds(self.created_at),
            expires_at=_moment(self.expires_at),
            revoked_at=_moment(self.revoked_at),
        )

    def to_copy(self) -> KeyCopy:
        """What gateways know."""
        return KeyCopy(
            id=self.id,
            user_id=self.user_id,
            roles=self.roles,
            models=self.models,
            requests_per_minute=self.requests_per_minute,
            concurrent=self.concurrent,
            tokens_per_month=self.tokens_per_month,
            money_per_month=self.money_per_month,
            expires_at=_moment(self.expires_at),
            revoked=self.revoked_at is not None,
        )


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)
