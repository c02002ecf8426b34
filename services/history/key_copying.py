"""Keep the copy of all keys true: after a wiped broker, or a command that was cut short.

The copy of a revoked key is kept for ever and never replaced by a living one, so it does not
matter in which order a revocation and the copying of its key arrive.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from services.history.key_ports import Held, KeyCopies, KeyStore
from services.history.key_records import KeyRecord
from shared.contracts.api_keys import nobodys_copy, unknown_copy

log = structlog.stdlib.get_logger(__name__)

_BATCH: Final = 200
_LOOK_THROUGH: Final = 60.0


class KeyCopying:
    """Gateways let nobody in until it has said once that the copy is complete."""

    def __init__(
        self,
        store: KeyStore,
        copies: KeyCopies,
        *,
        clock: Callable[[], float],
        before: Callable[[], Awaitable[None]],
    ) -> None:
        """Nothing has been looked at.

        Args:
            store: The record.
            copies: What gateways watch.
            clock: Monotonic seconds.
            before: Says all else that gateways must have heard before they let anybody in.
        """
        self._store = store
        self._copies = copies
        self._before = before
        self._clock = clock
        self._due = clock()

    def doubt(self) -> None:
        """Something may not have been copied: look through all of it the next time."""
        self._due = self._clock()

    async def mend(self) -> None:
        """Make the copy what the record says, if it is not complete or was not looked at for long.

        Raises:
            BrokerUnavailable: perhaps not done.
            HistoryUnavailable: the database is away.
        """
        if self._clock() < self._due and await self._copies.is_complete():
            return
        # Before it is read: what is doubted meanwhile is looked at again.
        before, self._due = self._due, self._clock() + _LOOK_THROUGH
        try:
            await self._mend_all()
        except BaseException:
            self._due = min(before, self._due)
            raise

    async def _mend_all(self) -> None:
        # In this order: whoever makes a key stores it before it is copied, so a copy without a
        # record was never a key of this database.
        held = dict(await self._copies.read())
        after: str | None = None
        while True:
            records = await self._store.page(None, _BATCH, after)
            for record in records:
                await self._mend(record, held.pop(record.digest, None))
            if len(records) < _BATCH:
                break
            after = records[-1].id
        for digest, unknown in held.items():
            await self._disown(digest, unknown)
        complete = await self._copies.is_complete()
        if not complete:
            await self._before()
        # Also over a word that is there: gateways believe none that the broker was made to copy.
        await self._copies.say_complete()
        if not complete:
            log.info("keys_copied")

    async def _mend(self, record: KeyRecord, held: Held | None) -> None:
        wanted = record.to_copy()
        if held is None:
            await self._copies.create(record.digest, wanted)
        elif held.copy == wanted:
            return
        elif wanted.revoked:
            # Not over what was put since: a purge of the user may have taken its name out.
            await self._copies.replace(record.digest, wanted, held.revision)
        elif held.copy is None or not held.copy.revoked:
            await self._copies.replace(record.digest, wanted, held.revision)
        else:
            # Revoked since the record was read, or in a database that was set back: the word
            # against a key outlives the word for it.
            log.info("key_stays_revoked", key_id=record.id)

    async def _disown(self, digest: str, held: Held) -> None:
        # Whose it was is forgotten with the record: its user may have been purged.
        if held.copy is not None and held.copy.revoked:
            gone = nobodys_copy(held.copy.id)
        else:
            gone = unknown_copy(held.copy.id if held.copy is not None else "unknown")
        if held.copy == gone:
            return
        if not gone.revoked:
            log.warning("key_without_record", key_id=gone.id)
        await self._copies.replace(digest, gone, held.revision)
