"""Who vouches for people outside of Parley."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ProviderAway(Exception):
    """It does not answer, or with something else than keys."""


class IdentityProvider(Protocol):
    """Publishes the keys that it signs tokens with."""

    async def keys(self) -> Sequence[Mapping[str, Any]]:
        """All of them, as JSON web keys; within a few seconds.

        Raises:
            ProviderAway: they cannot be read.
        """
        ...
