"""All API keys that let somebody in, as this process knows them: a look-up costs a dictionary."""

import hmac
from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.api.access.caller import Allowance, Caller
from services.api.access.refusals import KeysNotLoaded, NotAuthenticated
from services.api.ports.broker import Clock
from shared.contracts.api_keys import KeyCopy, digest_of, is_secret


class _Entry(NamedTuple):
    digest: str
    caller: Caller


class KeyRing:
    """A copy of a copy: whoever feeds it says for which connection to the broker it is whole.

    Of a key that was revoked once, nothing that is heard later is believed.
    """

    def __init__(self, clock: Clock, connection: Callable[[], int | None]) -> None:
        """Nothing is known yet, so nobody is let in.

        Args:
            clock: For keys that expire.
            connection: The number of the connection to the broker; ``None`` while it is away.
        """
        self._clock = clock
        self._connection = connection
        self._entries: dict[str, _Entry] = {}
        self._living: set[str] = set()
        self._revoked: set[str] = set()
        self._heard: set[str] = set()
        self._loaded_for: int | None = None
        self._on_gone: list[Callable[[str], None]] = []

    @property
    def loaded(self) -> bool:
        """Whether it is whole for this very connection: another one may have missed a word."""
        return self._loaded_for is not None and self._loaded_for == self._connection()

    def call_when_gone(self, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the id of each key that lets nobody in any more."""
        self._on_gone.append(callback)

    def lives(self, key_id: str) -> bool:
        """Whether the key of this id lets somebody in, its expiry aside."""
        return key_id in self._living

    def find(self, token: str) -> Caller:
        """Whose key this is.

        Raises:
            NotAuthenticated: nobody's, a revoked one, or one that has expired.
            KeysNotLoaded: that cannot be told yet.
        """
        if not self.loaded:
            raise KeysNotLoaded("This gateway does not know the API keys yet; try again.")
        digest = digest_of(token) if is_secret(token) else ""
        entry = self._entries.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            raise NotAuthenticated("This API key is not valid.")
        expires = entry.caller.expires_at
        if expires is not None and expires <= self._clock.now():
            raise NotAuthenticated("This API key has expired.")
        return entry.caller

    def begin(self) -> None:
        """All of it is being read: what is heard from now on is newer than what is read."""
        self._heard.clear()

    def hear(self, digest: str, copy: KeyCopy) -> None:
        """A key was made or revoked, or history has no record of it."""
        self._heard.add(digest)
        if copy.revoked:
            self._revoked.add(digest)
            self._drop(digest)
        elif copy.is_unknown():
            self._drop(digest)
        elif digest not in self._revoked:
            self._entries[digest] = _Entry(digest, _caller(copy))
            self._living.add(copy.id)

    def replace(self, copies: Mapping[str, KeyCopy], connection: int) -> None:
        """All of it was read, over this connection; keys that are not there let nobody in."""
        for digest in self._entries.keys() - copies.keys() - self._heard:
            self._drop(digest)
        for digest, copy in copies.items():
            if copy.revoked or digest not in self._heard:
                self.hear(digest, copy)
        self._loaded_for = connection

    def _drop(self, digest: str) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None and entry.caller.key_id is not None:
            self._living.discard(entry.caller.key_id)
            for callback in self._on_gone:
                callback(entry.caller.key_id)


def _caller(copy: KeyCopy) -> Caller:
    return Caller(
        copy.user_id,
        roles=frozenset(copy.roles),
        key_id=copy.id,
        models=tuple(copy.models) if copy.models is not None else ("*",),
        allowance=Allowance(
            copy.requests_per_minute,
            copy.concurrent,
            copy.tokens_per_month,
            copy.money_per_month,
        ),
        expires_at=copy.expires_at,
    )
