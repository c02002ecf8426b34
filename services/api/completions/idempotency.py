"""One key, one completion: who comes again with a key gets the answer that it began.

The entry of a key is written before ``accepted``. Whoever wrote it runs the completion. Whoever
finds it waits until there is an ``accepted``, and follows that; if none comes, its writer has died,
and the first one to renew the entry runs the completion in its place, under the same id.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

import orjson
import structlog

from services.api.ports.broker import Clock, Journal
from services.api.ports.keys import HeldKey, KeyEntry, Keys, Mark, Marks
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId, UserId
from shared.errors import BrokerUnavailable, InvalidRequest, KeyReused

log = structlog.stdlib.get_logger(__name__)

HEADER: Final = "Idempotency-Key"
_LONGEST: Final = 255
_OWED: Final = 2.0
"""Seconds in which the writer of an entry has published ``accepted``, or is dead."""
_STOPPING: Final = 5.0
_PAUSE: Final = 0.05


class Standing(Enum):
    """What a claim comes to."""

    OURS = auto()
    """Nobody runs it: run it, under the id of the claim."""
    RUNNING = auto()
    """It runs, or waits to: follow it."""
    ENDED = auto()
    """It has ended: its end is the answer."""


@dataclass(frozen=True)
class Claim:
    """A key in the hands of one request."""

    standing: Standing
    key: str
    held: HeldKey
    accepted: CompletionAccepted | None = None
    end: CompletionCompleted | None = None
    taken_over: bool = False
    """Somebody else had it before, who may be only slow."""

    @property
    def completion_id(self) -> CompletionId:
        """The completion that the key stands for."""
        return self.held.entry.completion_id

    @property
    def created_at(self) -> datetime:
        """When that was first asked for."""
        return self.held.entry.created_at


class Idempotency:
    """The use case behind the header ``Idempotency-Key``."""

    def __init__(self, keys: Keys, marks: Marks, journal: Journal, clock: Clock) -> None:
        self._keys = keys
        self._marks = marks
        self._journal = journal
        self._clock = clock

    async def claim(self, user_id: UserId, key: str, entry: KeyEntry) -> Claim:
        """Settle who answers.

        Args:
            user_id: Whose key; another user's same key is another key.
            key: As the client sent it.
            entry: What it stands for if it is new.

        Raises:
            KeyReused: it stands for a request with another body.
            BrokerUnavailable: the broker is away.
        """
        hashed = _hash(user_id, key)
        seen: int | None = None
        began = self._clock.monotonic()
        while True:
            held = await self._keys.get(hashed)
            if held is None:
                revision = await self._keys.set(hashed, entry, None)
                if revision is not None:
                    return Claim(Standing.OURS, hashed, HeldKey(entry, revision))
                continue
            if held.entry.body != entry.body:
                message = f"This {HEADER} was used for a request with another body."
                raise KeyReused(message)
            if held.revision != seen:
                seen, began = held.revision, self._clock.monotonic()
            claim = await self._look(hashed, held, self._clock.monotonic() - began)
            if claim is not None:
                return claim
            await asyncio.sleep(_PAUSE)

    async def find(self, user_id: UserId, key: str) -> CompletionId | None:
        """The completion that a key stands for.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        held = await self._keys.get(_hash(user_id, key))
        return held.entry.completion_id if held is not None else None

    async def release(self, claim: Claim) -> None:
        """It was refused: the next one with this key runs anew.

        Not when the broker is away: what was published may count all the same, and the next one
        finds out. So may whoever had the key before: it may run this very completion in a moment.
        """
        if claim.taken_over:
            return
        try:
            await self._keys.release(claim.key, claim.held.revision)
        except BrokerUnavailable:
            log.info("key_not_released", completion_id=claim.completion_id)

    async def _look(self, key: str, held: HeldKey, waited: float) -> Claim | None:
        """What the entry comes to; ``None`` to look again."""
        completion_id = held.entry.completion_id
        end = await self._journal.completed(completion_id)
        if end is not None:
            if await self._stands(end):
                return Claim(Standing.ENDED, key, held, end=end)
            await self._keys.release(key, held.revision)
            return None
        accepted = await self._journal.accepted(completion_id)
        if accepted is None:
            return await self._take_over(key, held) if waited >= _OWED else None
        if waited < _STOPPING and await self._marks.look(completion_id) is Mark.FORSAKEN:
            # Its client has gone and it is about to end: then this one runs anew.
            return None
        return Claim(Standing.RUNNING, key, held, accepted=accepted)

    async def _stands(self, end: CompletionCompleted) -> bool:
        if end.status is CompletionStatus.CANCELLED:
            # Only where that was wished for: who lost its connection wants the answer now.
            return await self._marks.look(end.completion_id) is Mark.ASKED
        return end.status is CompletionStatus.COMPLETED

    async def _take_over(self, key: str, held: HeldKey) -> Claim | None:
        revision = await self._keys.set(key, held.entry, held.revision)
        if revision is None:
            return None
        log.warning("key_taken_over", completion_id=held.entry.completion_id)
        return Claim(Standing.OURS, key, HeldKey(held.entry, revision), taken_over=True)


def check_key(values: list[str]) -> str | None:
    """The key of a request; ``None`` where it has none.

    Raises:
        InvalidRequest: not 1 to 255 printable ASCII characters, or several keys.
    """
    if not values:
        return None
    (key, *more) = values
    printable = key.isascii() and key.isprintable()
    if more or not printable or not len(key.strip()) > 0 or len(key) > _LONGEST:
        message = (
            f"The header {HEADER} must be one value of 1 to {_LONGEST} printable ASCII characters."
        )
        raise InvalidRequest(message, param=HEADER)
    return key


def digest_of(body: bytes) -> str:
    """What the bodies of equal requests have in common: JSON, whatever its spaces and order."""
    canonical = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def _hash(user_id: UserId, key: str) -> str:
    # Both come from outside and may hold any character; the NUL keeps them apart.
    return hashlib.sha256(f"{user_id}\0{key}".encode()).hexdigest()
