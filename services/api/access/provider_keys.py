"""The keys of the identity provider: remembered, read anew when they are old or one is missing.

Everybody can send a token with a key id of their own making: that may not send this gateway to
the provider each time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from services.api.access.refusals import IdentityUnavailable, NotAuthenticated
from services.api.background import Background
from services.api.ports.broker import Clock
from services.api.ports.identity_provider import IdentityProvider, ProviderAway

log = structlog.stdlib.get_logger(__name__)

_OLD: Final = 600.0
_BETWEEN: Final = 10.0
"""Seconds between two readings at least, whatever tokens say."""
_BETWEEN_FAILURES: Final = 1.0
_RSA: Final = "RSA"
_KINDS: Final[Mapping[str, tuple[str, str | None]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), (_RSA, None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Signatures whose checking needs nothing secret, and the kind and curve of their keys."""
ALGORITHMS: Final = tuple(_KINDS)


class _Known(NamedTuple):
    keys: Sequence[Mapping[str, Any]]
    read_at: float


class ProviderKeys:
    """Finds the key that a token says it was signed with."""

    def __init__(self, provider: IdentityProvider, background: Background, clock: Clock) -> None:
        """Nothing is known; the first token reads the keys."""
        self._provider = provider
        self._background = background
        self._clock = clock
        self._known: _Known | None = None
        self._made: dict[tuple[str | None, str], PyJWK] = {}
        self._not_before = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> PyJWK:
        """The key of this id, for this algorithm.

        Without an id, the only one that fits the algorithm.

        Raises:
            NotAuthenticated: there is none.
            IdentityUnavailable: no keys are known, and none can be read.
        """
        if self._known is None:
            await self._read()
        elif self._clock.monotonic() - self._known.read_at > _OLD:
            # What is known goes on while the provider is away.
            self._begin()
        if self._known is None:
            raise IdentityUnavailable("The identity provider does not answer; try again.")
        key = self._made.get((key_id, algorithm)) or self._make(key_id, algorithm)
        if key is None:
            await self._read()
            key = self._make(key_id, algorithm)
        if key is None:
            log.debug("token_refused", reason="key id")
            raise NotAuthenticated("This token is not valid.")
        return key

    async def _read(self) -> None:
        task = self._begin()
        if task is not None:
            await asyncio.shield(task)

    def _begin(self) -> asyncio.Task[None] | None:
        if self._reading is not None:
            return self._reading
        if self._clock.monotonic() < self._not_before:
            return None
        task = self._background.spawn(self._read_now(), "read-provider-keys")
        self._reading = task
        return task

    async def _read_now(self) -> None:
        now = self._clock.monotonic
        try:
            keys = await self._provider.keys()
        except ProviderAway as error:
            self._not_before = now() + _BETWEEN_FAILURES
            log.warning("provider_keys_not_read", error=str(error))
        else:
            self._not_before = now() + _BETWEEN
            self._known = _Known(keys, now())
            self._made.clear()
        finally:
            self._reading = None

    def _make(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        assert self._known is not None
        fitting = [key for key in self._known.keys if _fits(key, algorithm)]
        if key_id is not None:
            fitting = [key for key in fitting if key.get("kid") == key_id]
        if len(fitting) != 1:
            return None
        try:
            made = PyJWK(dict(fitting[0]), algorithm)
        except PyJWTError:
            # Not its text: it quotes the key.
            log.warning("provider_key_unusable", algorithm=algorithm)
            return None
        self._made[key_id, algorithm] = made
        return made


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = _KINDS[algorithm]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and "verify" in key.get("key_ops", ("verify",))
    )
