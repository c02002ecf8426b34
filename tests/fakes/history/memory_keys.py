"""``KeyStore`` and ``KeyCopies`` in memory, with the same rules as the real ones."""

import asyncio
from collections.abc import Mapping
from itertools import count

from services.history.key_ports import Held
from services.history.key_records import KeyRecord
from shared.contracts.api_keys import KeyCopy
from shared.contracts.ids import UserId
from shared.errors import BrokerUnavailable, HistoryUnavailable


class MemoryKeyStore:
    """A dictionary; ``available = False`` is a database that is away."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyRecord] = {}
        self.available = True

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("away")

    async def create(self, key: KeyRecord) -> KeyRecord:
        self._check()
        return self.keys.setdefault(key.id, key)

    async def page(self, user_id: UserId | None, limit: int, after: str | None) -> list[KeyRecord]:
        self._check()
        found = [
            key
            for key in self.keys.values()
            if user_id in (None, key.user_id) and (after is None or key.id > after)
        ]
        return sorted(found, key=lambda key: key.id)[:limit]

    async def revoke(self, key_id: str, at: int) -> KeyRecord | None:
        self._check()
        key = self.keys.get(key_id)
        if key is not None and key.revoked_at is None:
            self.keys[key_id] = key.model_copy(update={"revoked_at": at})
        return self.keys.get(key_id)

    async def remove(self, key_id: str) -> None:
        self._check()
        key = self.keys.get(key_id)
        if key is not None and key.revoked_at is not None:
            del self.keys[key_id]


class MemoryKeyCopies:
    """A dictionary with revisions; ``available = False`` is a broker that is away.

    With ``hangs = True`` it takes what is put and does nothing with it.
    """

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.complete = False
        self.available = True
        self.hangs = False
        self._revisions = count(1)

    def _check(self) -> None:
        if not self.available:
            raise BrokerUnavailable("away")

    async def read(self) -> Mapping[str, Held]:
        self._check()
        return dict(self.held)

    async def create(self, digest: str, copy: KeyCopy) -> bool:
        self._check()
        if digest in self.held:
            return False
        self.held[digest] = Held(copy, next(self._revisions))
        return True

    async def replace(self, digest: str, copy: KeyCopy, revision: int) -> bool:
        self._check()
        if digest not in self.held or self.held[digest].revision != revision:
            return False
        self.held[digest] = Held(copy, next(self._revisions))
        return True

    async def put(self, digest: str, copy: KeyCopy) -> None:
        self._check()
        if self.hangs:
            await asyncio.Event().wait()
        self.held[digest] = Held(copy, next(self._revisions))

    async def is_complete(self) -> bool:
        self._check()
        return self.complete

    async def say_complete(self) -> None:
        self._check()
        self.complete = True
