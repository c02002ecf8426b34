"""Where API keys are kept, and where gateways look for them."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from services.history.key_records import KeyRecord
from shared.contracts.api_keys import KeyCopy
from shared.contracts.ids import UserId


class KeyStore(Protocol):
    """The record of all keys.

    Every method raises ``shared.errors.HistoryUnavailable`` when the database is away or slow, and
    ``services.history.ports.RefusedByStore`` when it will never take this document.
    """

    async def create(self, key: KeyRecord) -> KeyRecord:
        """Store it unless its id exists, and give what is there."""
        ...

    async def page(self, user_id: UserId | None, limit: int, after: str | None) -> list[KeyRecord]:
        """The first with an id beyond ``after``, in the order of ids; ``None``: of all users."""
        ...

    async def revoke(self, key_id: str, at: int) -> KeyRecord | None:
        """Mark it as revoked at ``at`` (milliseconds) unless it is; ``None`` if there is none."""
        ...

    async def remove(self, key_id: str) -> None:
        """Forget it, if it is there and revoked."""
        ...


class Held(NamedTuple):
    """A copy, and the revision that a change of it must name."""

    copy: KeyCopy | None
    """``None``: something that is no copy."""
    revision: int


class KeyCopies(Protocol):
    """What gateways watch, by the keys' digests.

    Raises (every call):
        BrokerUnavailable: the broker is away or has no such bucket: perhaps not done.
    """

    async def read(self) -> Mapping[str, Held]:
        """All of them."""
        ...

    async def create(self, digest: str, copy: KeyCopy) -> bool:
        """Put it where nothing stands; ``False`` if something does."""
        ...

    async def replace(self, digest: str, copy: KeyCopy, revision: int) -> bool:
        """Put it in the place of this revision; ``False`` if that has changed."""
        ...

    async def put(self, digest: str, copy: KeyCopy) -> None:
        """Put it there, whatever stands there."""
        ...

    async def is_complete(self) -> bool:
        """Whether somebody has said so."""
        ...

    async def say_complete(self) -> None:
        """All keys of the record are there."""
        ...
