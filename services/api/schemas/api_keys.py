"""``keys/``."""

from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field

from services.api.schemas.chat import Whole
from services.api.schemas.model import AnswerModel, Flag, Moment, RequestModel, Text
from shared.contracts.api_keys import ADMIN, ApiKey, Money

Count = Annotated[Whole, Field(ge=0, lt=2**31)]
UserName = Annotated[Text, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
ModelPattern = Annotated[Text, Field(min_length=1, max_length=256)]


class KeyRequest(RequestModel):
    """A new key; what is absent is what the gateway's settings say.

    A field that nobody knows is refused: a bound with a misspelt name would be none.
    """

    model_config = ConfigDict(extra="forbid")

    user: UserName
    name: Annotated[Text, Field(max_length=255)] = ""
    admin: Flag = False
    models: (
        Annotated[list[ModelPattern], Field(min_length=1, max_length=100, fail_fast=True)] | None
    ) = None
    requests_per_minute: Count | None = None
    concurrent: Count | None = None
    tokens_per_month: Annotated[Whole, Field(gt=0, lt=2**53)] | None = None
    money_per_month: Money | None = None
    expires_at: AwareDatetime | None = None


class KeyBody(AnswerModel):
    """A key without the key; ``prefix`` is how it begins."""

    id: str
    user: str
    name: str
    prefix: str
    admin: bool
    models: list[str] | None
    requests_per_minute: int | None
    concurrent: int | None
    tokens_per_month: int | None
    money_per_month: str | None
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class NewKeyBody(KeyBody):
    """``key`` is shown this once: nobody keeps it."""

    key: str


class KeyListBody(AnswerModel):
    """A page of keys; ``nextCursor`` asks for the next one, null on the last."""

    keys: list[KeyBody]
    next_cursor: str | None


def key_body(key: ApiKey) -> KeyBody:
    """As lists show it."""
    return KeyBody(
        **key.model_dump(exclude={"user_id", "roles"}), user=key.user_id, admin=ADMIN in key.roles
    )


def new_key_body(key: ApiKey, secret: str) -> NewKeyBody:
    """As it is shown once."""
    return NewKeyBody(**key_body(key).model_dump(), key=secret)
