"""One pass of a purge: what is there of a user now goes. Every step may be repeated."""

from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final

from services.history.key_ports import KeyCopies, KeyStore
from services.history.key_records import KeyRecord
from services.history.purge_holding import Hold
from services.history.records import to_milliseconds
from services.history.user_ports import PurgeMark, PurgeMarks, Traces, UserStore
from shared.contracts.api_keys import nobodys_copy
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import UserData

_BATCH: Final = 200


class Sweeping:
    """Raises (every call): ``HistoryUnavailable``, ``BrokerUnavailable`` or ``ApiError``: again."""

    def __init__(
        self,
        marks: PurgeMarks,
        store: UserStore,
        keys: KeyStore,
        copies: KeyCopies,
        traces: Traces,
        *,
        now: Callable[[], datetime],
    ) -> None:
        """Wire it.

        Args:
            marks: What is to be remembered between two passes.
            store: The user's documents.
            keys: Their API keys.
            copies: The keys as gateways know them.
            traces: What the broker holds.
            now: The time.
        """
        self._marks = marks
        self._store = store
        self._keys = keys
        self._copies = copies
        self._traces = traces
        self._now = now

    async def count(self, user_id: UserId) -> UserData:
        """How much there is."""
        data = await self._store.count(user_id)
        return data.model_copy(update={"keys": len(await self._keys_of(user_id))})

    async def sweep(self, mark: PurgeMark, user_id: UserId, hold: Hold) -> set[CompletionId]:
        """Remove what is there now; gives the completions that may still say something.

        Raises:
            HoldLost: another process may be at it.
        """
        keys = await self._revoke_keys(mark, user_id, hold)
        hold.check()
        await self._store.hide(user_id)
        since = await self._traces.frames_since(mark.begun_at)
        known = await self._store.completions(user_id, since)
        unfinished = set(await self._store.open_completions(user_id))
        hold.check()
        events = await self._traces.remove_events(user_id)
        unfinished |= {each for each, ended in events.items() if not ended}
        # Read after the events: one that was dropped before is in the mark, or among them.
        kept = await self._marks.find(mark.id) or mark
        hold.check()
        await self._traces.remove_frames({*known, *unfinished, *events, *(kept.running or ())})
        hold.check()
        # Also those of the first pass, which has removed them: what they were charged came later.
        key_ids = sorted({*(key.id for key in keys), *(mark.key_ids or ())})
        await self._traces.remove_entries(user_id, key_ids)
        hold.check()
        await self._traces.remove_dead_letters(user_id)
        hold.check()
        async with aclosing(self._store.remove(user_id)) as batches:
            async for _ in batches:
                hold.check()
        await self._remove_keys(keys, hold)
        return unfinished

    async def withdraw(self, user_id: UserId) -> int:
        """Take the user's requests out of the queue; gives their number."""
        return len(await self._traces.remove_requests(user_id))

    async def _revoke_keys(self, mark: PurgeMark, user_id: UserId, hold: Hold) -> list[KeyRecord]:
        found = await self._keys_of(user_id)
        if not found:
            return found
        living = [key.id for key in found if key.revoked_at is None]
        # First: when they are gone nobody knows any more under which names there are counters.
        await self._marks.keep_keys(mark.id, [key.id for key in found], living)
        at = to_milliseconds(self._now())
        for key in found:
            hold.check()
            revoked = await self._keys.revoke(key.id, at)
            if revoked is not None:
                await self._copies.put(revoked.digest, revoked.to_copy())
        return found

    async def _remove_keys(self, keys: list[KeyRecord], hold: Hold) -> None:
        for key in keys:
            hold.check()
            await self._keys.remove(key.id)
            # Revoked for ever, but nobody's: should this not be reached, whoever mends the copies
            # does the same with a copy that has no record.
            await self._copies.put(key.digest, nobodys_copy(key.id))

    async def _keys_of(self, user_id: UserId) -> list[KeyRecord]:
        found: list[KeyRecord] = []
        while True:
            page = await self._keys.page(user_id, _BATCH, found[-1].id if found else None)
            found += page
            if len(page) < _BATCH:
                return found
