"""``IdentityProvider`` over HTTP: OpenID Connect's discovery, then the key set that it names."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from services.api.access.origins import LOOPBACK_NAMES
from services.api.ports.identity_provider import ProviderAway

_TIMEOUT: Final = httpx.Timeout(3.0)
_DEADLINE: Final = 5.0
_LARGEST: Final = 2**20
_MOST_KEYS: Final = 1000
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
_DISCOVERY: Final = "/.well-known/openid-configuration"


class HttpIdentityProvider:
    """Reads at most 1 MiB and 1,000 keys, follows no redirect, waits for five seconds at most."""

    def __init__(self, issuer: str, jwks_url: str | None, *, deadline: float = _DEADLINE) -> None:
        """Describe it.

        Args:
            issuer: Its address.
            jwks_url: Of its keys; ``None``: the issuer says it.
            deadline: Seconds for all of it.
        """
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._deadline = deadline

    async def keys(self) -> Sequence[Mapping[str, Any]]:
        """See the port."""
        try:
            async with asyncio.timeout(self._deadline):
                url = self._jwks_url or await self._discover()
                keys = (await _object(url)).get("keys")
        except TimeoutError as error:
            raise ProviderAway("it takes too long") from error
        if not isinstance(keys, list):
            raise ProviderAway("what it answers is no set of keys")
        if len(keys) > _MOST_KEYS:
            # Each token whose key is not among them goes through all.
            raise ProviderAway("it answers too many keys")
        return [key for key in keys if isinstance(key, dict)]

    async def _discover(self) -> str:
        found = await _object(self._issuer.rstrip("/") + _DISCOVERY)
        url = found.get("jwks_uri")
        if found.get("issuer") != self._issuer or not isinstance(url, str):
            raise ProviderAway("its discovery document is of another issuer, or names no keys")
        if urlsplit(url).scheme != urlsplit(self._issuer).scheme:
            # From https to http, whoever stands between could give us keys of his own.
            raise ProviderAway("its discovery document names keys at an unsafe address")
        return url


async def _object(url: str) -> dict[str, Any]:
    # The environment's proxies are for other machines.
    outside = urlsplit(url).hostname not in LOOPBACK_NAMES
    body = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT, trust_env=outside) as client,
            client.stream("GET", url, headers=_HEADERS) as reply,
        ):
            if reply.status_code != httpx.codes.OK:
                message = f"it answers {reply.status_code}"
                raise ProviderAway(message)
            # As it comes: a few bytes that are compressed may become any number of them.
            async for part in reply.aiter_raw():
                body += part
                if len(body) > _LARGEST:
                    raise ProviderAway("it answers too much")
        value = orjson.loads(body)
    except (httpx.HTTPError, httpx.InvalidURL, orjson.JSONDecodeError) as error:
        raise ProviderAway(type(error).__name__) from error
    if not isinstance(value, dict):
        raise ProviderAway("what it answers is no object")
    return value
