"""API keys: kept by history, copied into the bucket ``keys``, which every gateway watches.

The key itself is known to its holder alone. Who makes one draws it, shows it once, and tells
history its hash: it never crosses the broker.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

import uuid_utils
from pydantic import Field, PlainSerializer

from shared.contracts.history import Reply
from shared.contracts.ids import UserId
from shared.contracts.questions import Question
from shared.contracts.wire import WireModel

ADMIN: Final = "admin"
"""The role that may make keys for others, and settings that hold for all."""
ANONYMOUS: Final = "anon-"
"""How the ids of callers without a token begin: nobody's key may be for one of them."""

_BEGINNING: Final = "pk-"
_SECRET: Final = re.compile(r"pk-[A-Za-z0-9_-]{43}")
_SHOWN: Final = 11
_NOBODY: Final = UserId("-")
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No key is made that has expired."""

KeyDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a key in hex: 256 random bits need no slow hash, nobody can try them all."""
Money = Annotated[
    Decimal,
    Field(gt=0, le=1_000_000_000, decimal_places=6),
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str),
]
"""Decimal text wherever it is written down: nobody reads it as a float by accident."""
Pattern = Annotated[str, Field(min_length=1, max_length=256)]

COPY: Final = "key."
"""What stands before the digest in the bucket ``keys``."""
COMPLETE: Final = "complete"
"""The entry that says that all keys are in the bucket; a new, empty one lacks it."""
IS_COMPLETE: Final = b"1"
"""What it holds. Anything else was not put there by history: it says nothing."""


def new_secret() -> str:
    """A key: ``pk-`` and 256 random bits."""
    return f"{_BEGINNING}{secrets.token_urlsafe(32)}"


def is_secret(token: str) -> bool:
    """Whether it has the form of a key."""
    return _SECRET.fullmatch(token) is not None


def looks_like_secret(token: str) -> bool:
    """Whether somebody meant it for a key."""
    return token.startswith(_BEGINNING)


def digest_of(token: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def shown_part(secret: str) -> str:
    """Its first characters, by which people tell keys apart."""
    return secret[:_SHOWN]


def new_key_id() -> str:
    """A fresh id of a key."""
    return str(uuid_utils.uuid7())


class KeyRights(WireModel):
    """What the holder of a key may; ``None`` is what the gateway's settings say."""

    user_id: UserId = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
    roles: list[str] = Field(default_factory=list)
    models: list[Pattern] | None = Field(default=None, min_length=1, max_length=100)
    """Patterns such as ``llama*``; absent: all models."""
    requests_per_minute: int | None = Field(default=None, ge=0)
    concurrent: int | None = Field(default=None, ge=0)
    tokens_per_month: int | None = Field(default=None, gt=0)
    """The budget of this key alone; that of its user holds beside it."""
    money_per_month: Money | None = None
    """The same in money."""
    expires_at: datetime | None = None


class ApiKey(KeyRights):
    """A key as lists show it: without what would let anybody in."""

    id: str
    prefix: str
    """Its first characters."""
    name: str = ""
    created_at: datetime
    revoked_at: datetime | None = None


class KeyCopy(KeyRights):
    """What gateways know of a key, under ``key.<digest>``.

    A revoked key stays there, so that nothing that is late can bring it back.
    """

    id: str
    revoked: bool = False

    def is_unknown(self) -> bool:
        """Whether the record does not have this key, as far as history can see."""
        return self.expires_at == _LONG_AGO and not self.revoked


def nobodys_copy(key_id: str) -> KeyCopy:
    """What stays of a revoked key: that it lets nobody in, and not whose it was."""
    return KeyCopy(id=key_id, user_id=_NOBODY, revoked=True)


def unknown_copy(key_id: str) -> KeyCopy:
    """What stands for a key that the record does not have.

    It lets nobody in, but unlike a revocation it gives way to the record: that of a database which
    was named by mistake, or is set back, may not end keys for good. A gateway that does not know
    of such copies finds that it has expired.
    """
    return KeyCopy(id=key_id, user_id=_NOBODY, expires_at=_LONG_AGO)


class CreateKey(KeyRights):
    """A new key; again with the same id, it gives the one that is there."""

    key_id: str
    digest: KeyDigest
    prefix: str = Field(max_length=_SHOWN)
    name: str = Field(default="", max_length=255)


class KeyReply(Reply):
    """The key after the command."""

    key: ApiKey | None = None


class ListKeys(WireModel):
    """A page of keys, the oldest first: all, or those of one user."""

    user_id: UserId | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64)


class KeyPage(Reply):
    """``next_cursor`` is absent on the last page."""

    keys: list[ApiKey] = Field(default_factory=list)
    next_cursor: str | None = None


class RevokeKey(WireModel):
    """Let it in no more; again, it is harmless."""

    key_id: str


CREATE_KEY: Final = Question("create_key", CreateKey, KeyReply, audited=True)
LIST_KEYS: Final = Question("list_keys", ListKeys, KeyPage)
REVOKE_KEY: Final = Question("revoke_key", RevokeKey, KeyReply, audited=True)
