"""Tokens of an identity provider (JWT, as OpenID Connect has them).

Of a token's header only ``alg`` and ``kid`` are read: it must not say where its key is to be found.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import jwt
import structlog
from jwt.exceptions import PyJWTError

from services.api.access.caller import Caller
from services.api.access.provider_keys import ProviderKeys
from services.api.access.refusals import NotAuthenticated
from shared.contracts.api_keys import ADMIN, ANONYMOUS
from shared.contracts.ids import UserId

log = structlog.stdlib.get_logger(__name__)

_LONGEST: Final = 16 * 1024
_LONGEST_NAME: Final = 128


class TokenRules(NamedTuple):
    """What a token must say, and what its claims mean here."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: timedelta
    user_claim: str
    roles_claim: str
    admin_role: str


class ProviderTokens:
    """From a token to a caller."""

    def __init__(self, rules: TokenRules, keys: ProviderKeys) -> None:
        self._rules = rules
        self._keys = keys

    async def find(self, token: str) -> Caller:
        """Whose it is.

        Raises:
            NotAuthenticated: nobody's, not for us, or not valid now.
            IdentityUnavailable: the provider's keys cannot be read.
        """
        if len(token) > _LONGEST:
            raise _not_valid("too long")
        algorithm, key_id = self._header(token)
        key = await self._keys.find(key_id, algorithm)
        rules = self._rules
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.leeway,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except (PyJWTError, ValueError, TypeError) as error:
            # Not its text: it may quote what was sent.
            raise _not_valid(type(error).__name__) from error
        return self._caller(claims)

    def _header(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError) as error:
            raise _not_valid("no JWT") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        # An extension that must be understood is understood by nobody here.
        if algorithm not in self._rules.algorithms or "crit" in header:
            raise _not_valid("algorithm")
        if key_id is not None and not isinstance(key_id, str):
            raise _not_valid("key id")
        return str(algorithm), key_id

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        user = claims.get(self._rules.user_claim)
        if (
            not isinstance(user, str)
            or not 0 < len(user) <= _LONGEST_NAME
            or not user.isprintable()
            or user.startswith(ANONYMOUS)
        ):
            raise _not_valid(self._rules.user_claim)
        roles = _roles(claims, self._rules.roles_claim)
        try:
            expires = datetime.fromtimestamp(claims["exp"], UTC) + self._rules.leeway
        except (OverflowError, ValueError, OSError) as error:
            raise _not_valid("exp") from error
        is_admin = self._rules.admin_role in roles
        return Caller(
            UserId(user),
            roles=(roles - {ADMIN}) | ({ADMIN} if is_admin else set()),
            expires_at=expires,
        )


def _roles(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """The roles at a path such as ``realm_access.roles``: a list, or words with blanks between."""
    found: object = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset(found.split())
    if isinstance(found, list):
        return frozenset(role for role in found if isinstance(role, str))
    return frozenset()


def _not_valid(reason: str) -> NotAuthenticated:
    """The one answer: which of its parts is wrong helps who makes them up.

    Who has set up the provider finds it in the log, at DEBUG, as strangers can cause any number of
    lines.
    """
    log.debug("token_refused", reason=reason)
    return NotAuthenticated("This token is not valid.")
