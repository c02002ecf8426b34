"""Make, list and revoke API keys, for administrators."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from services.api.ports.sessions import Asking
from shared.contracts import api_keys as asked
from shared.contracts.api_keys import (
    ADMIN,
    ApiKey,
    CreateKey,
    KeyPage,
    KeyReply,
    ListKeys,
    RevokeKey,
    digest_of,
    new_key_id,
    new_secret,
    shown_part,
)
from shared.contracts.ids import UserId
from shared.errors import KeyNotFound


class Wish(NamedTuple):
    """What a new key is to be for."""

    user_id: UserId
    name: str = ""
    admin: bool = False
    models: Sequence[str] | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_month: int | None = None
    money_per_month: Decimal | None = None
    expires_at: datetime | None = None


class NewKey(NamedTuple):
    """A key, and the only copy of what it says."""

    key: ApiKey
    secret: str


class KeyAdmin:
    """The use case behind the routes and ``parley keys``.

    Raises (every call):
        HistoryUnavailable: nobody answers, or its database or its broker is away.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def create(self, wish: Wish) -> NewKey:
        """Draw a key and have it kept.

        Raises:
            InvalidRequest: such a key would be of no use.
        """
        secret = new_secret()
        command = CreateKey(
            key_id=new_key_id(),
            digest=digest_of(secret),
            prefix=shown_part(secret),
            user_id=wish.user_id,
            name=wish.name,
            roles=[ADMIN] if wish.admin else [],
            models=list(wish.models) if wish.models is not None else None,
            requests_per_minute=wish.requests_per_minute,
            concurrent=wish.concurrent,
            tokens_per_month=wish.tokens_per_month,
            money_per_month=wish.money_per_month,
            expires_at=wish.expires_at,
        )
        return NewKey(_key(await self._asking.ask(asked.CREATE_KEY, command)), secret)

    async def page(self, user_id: UserId | None, limit: int, cursor: str | None) -> KeyPage:
        """A page of the keys of one user, or of all."""
        query = ListKeys(user_id=user_id, limit=limit, cursor=cursor)
        return await self._asking.ask(asked.LIST_KEYS, query)

    async def revoke(self, key_id: str) -> ApiKey:
        """Let it in no more, anywhere, within a second.

        Raises:
            KeyNotFound: there is none.
        """
        return _key(await self._asking.ask(asked.REVOKE_KEY, RevokeKey(key_id=key_id)))


def _key(reply: KeyReply) -> ApiKey:
    if reply.key is None:
        raise KeyNotFound("There is no such key.", param="id")
    return reply.key
