"""Remove everything of one user, everywhere, while everything goes on.

In two passes. First gateways are told, and all that is there goes. What was on its way meanwhile
(an answer that is being cancelled, a command of a moment ago) is removed by the second pass, after
which the user is let in again. The mark of it stays for 30 days: events of completions that were
accepted before it are never stored, whenever they come.

Every step may be repeated, by this replica or another one, at the same time or after a crash.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.history.key_ports import KeyCopies, KeyStore
from services.history.key_records import KeyRecord
from services.history.records import from_milliseconds, to_milliseconds
from services.history.user_ports import PurgeMark, PurgeMarks, PurgeWords, Traces, UserStore
from shared.contracts.api_keys import nobodys_copy
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import (
    PurgeState,
    PurgeUser,
    UserDataQuery,
    UserDataReply,
    user_digest,
)
from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.observability import audit

_BATCH: Final = 200

log = structlog.stdlib.get_logger(__name__)


class UserPurging:
    """The use case, and the loop that carries it out."""

    def __init__(
        self,
        marks: PurgeMarks,
        store: UserStore,
        keys: KeyStore,
        copies: KeyCopies,
        words: PurgeWords,
        traces: Traces,
        *,
        slack: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """Wire it.

        Args:
            marks: Which users go, and went.
            store: Their documents.
            keys: Their API keys.
            copies: The keys as gateways know them.
            words: What gateways are told.
            traces: What the broker holds.
            slack: By how much the clocks of gateways may differ from this one.
            now: The time.
        """
        self._marks = marks
        self._store = store
        self._keys = keys
        self._copies = copies
        self._words = words
        self._traces = traces
        self._slack = slack
        self._now = now
        self._nudged = asyncio.Event()

    async def look(self, query: UserDataQuery) -> UserDataReply:
        """How much there is, and how far its removal is.

        Raises:
            HistoryUnavailable: the database is away.
        """
        return await self._reply(query.user_id)

    async def begin(self, command: PurgeUser) -> UserDataReply:
        """See to it that all of it goes; from the answer on this outlives any crash.

        Raises:
            HistoryUnavailable: the database or the broker is away; perhaps it has begun.
        """
        now = to_milliseconds(self._now())
        slack = self._slack // timedelta(milliseconds=1)
        digest = user_digest(command.user_id)
        mark = PurgeMark(
            id=digest,
            user_id=command.user_id,
            begun_at=now,
            # A gateway's clock may be as far ahead or behind: what it accepted before it heard of
            # this is earlier than that, and what it accepts when it lets the user in again is not.
            before=now + slack,
            settles_at=now + 2 * slack,
        )
        await self._marks.begin(mark)
        try:
            await self._words.under_way(digest)
        except BrokerUnavailable as error:
            message = f"It will be done, but gateways do not know of it yet: {error.message}"
            raise HistoryUnavailable(message) from error
        self._nudged.set()
        return await self._reply(command.user_id)

    async def due(self, interval: float) -> None:
        """Wait until there may be work: ``interval`` seconds, or sooner."""
        try:
            async with asyncio.timeout(interval):
                await self._nudged.wait()
        except TimeoutError:
            return

    async def work(self) -> None:
        """Do what is due of all purges.

        Raises:
            HistoryUnavailable, BrokerUnavailable, ApiError: not all of it is done; try again.
        """
        self._nudged.clear()
        for mark in await self._marks.under_way():
            if mark.user_id is None:
                continue
            if mark.swept_at is None:
                # Also where a broker has lost its store, or the one who began this has died.
                await self._words.under_way(mark.id)
                running = await self._sweep(mark, mark.user_id)
                at = to_milliseconds(self._now())
                await self._marks.swept(mark.id, at, running)
                log.info("user_swept", running=len(running))
            elif to_milliseconds(self._now()) >= mark.settles_at:
                await self._finish(mark, mark.user_id)

    async def _finish(self, mark: PurgeMark, user_id: UserId) -> None:
        await self._words.under_way(mark.id)
        # Its gateway withdraws a request that waits, and says so to whoever reads the answer; what
        # is still there now is of a gateway that is gone.
        withdrawn = await self._traces.remove_requests(user_id)
        await self._sweep(mark, user_id)
        # First the word: as long as the mark names the user, it is said again.
        await self._words.over(mark.id)
        await self._marks.finish(mark.id, to_milliseconds(self._now()))
        log.info("requests_withdrawn", count=len(withdrawn))
        audit.record("user.purged", actor=None, target=f"user:{user_id}", user=user_id)

    async def _sweep(self, mark: PurgeMark, user_id: UserId) -> set[CompletionId]:
        """Remove what is there now; gives the completions that may still say something."""
        keys = await self._revoke_keys(user_id)
        await self._store.hide(user_id)
        since = await self._traces.frames_since(mark.begun_at)
        known = await self._store.completions(user_id, since)
        unfinished = set(await self._store.open_completions(user_id))
        events = await self._traces.remove_events(user_id)
        unfinished |= {each for each, ended in events.items() if not ended}
        await self._traces.remove_frames({*known, *unfinished, *events, *(mark.running or ())})
        await self._traces.remove_entries(user_id, [key.id for key in keys])
        await self._traces.remove_dead_letters(user_id)
        while await self._store.remove(user_id):
            pass
        await self._remove_keys(keys)
        return unfinished

    async def _revoke_keys(self, user_id: UserId) -> list[KeyRecord]:
        at = to_milliseconds(self._now())
        found: list[KeyRecord] = []
        while True:
            page = await self._keys.page(user_id, _BATCH, found[-1].id if found else None)
            for key in page:
                revoked = await self._keys.revoke(key.id, at)
                if revoked is not None:
                    await self._copies.put(revoked.digest, revoked.to_copy())
            found += page
            if len(page) < _BATCH:
                return found

    async def _remove_keys(self, keys: list[KeyRecord]) -> None:
        for key in keys:
            await self._keys.remove(key.id)
            # Revoked for ever, but nobody's: should this not be reached, whoever mends the copies
            # does the same with a copy that has no record.
            await self._copies.put(key.digest, nobodys_copy(key.id))

    async def _reply(self, user_id: UserId) -> UserDataReply:
        data = await self._store.count(user_id)
        keys = await self._count_keys(user_id)
        mark = await self._marks.find(user_digest(user_id))
        if mark is None:
            return UserDataReply(data=data.model_copy(update={"keys": keys}))
        return UserDataReply(
            data=data.model_copy(update={"keys": keys}),
            state=_state(mark),
            begun_at=from_milliseconds(mark.begun_at),
            settles_at=from_milliseconds(mark.settles_at),
        )

    async def _count_keys(self, user_id: UserId) -> int:
        count, after = 0, None
        while True:
            page = await self._keys.page(user_id, _BATCH, after)
            count += len(page)
            if len(page) < _BATCH:
                return count
            after = page[-1].id


def _state(mark: PurgeMark) -> PurgeState:
    if mark.finished_at is not None:
        return PurgeState.PURGED
    return PurgeState.REMOVING if mark.swept_at is None else PurgeState.SETTLING
