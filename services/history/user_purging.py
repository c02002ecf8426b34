"""Remove everything of one user, everywhere, while everything goes on.

In two passes. First gateways are told, and all that is there goes. What was on its way meanwhile
(an answer that is being cancelled, a command of a moment ago) is removed by the second pass, after
which the user is let in again. The mark of it stays for 30 days: events of completions that were
accepted before it are never stored, whenever they come.

Every step may be repeated, by this process or by another one after a crash. Purges do not wait for
one another: one that fails is tried again, later each time, and all others go on.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from services.history.purge_holding import Hold, Holding
from services.history.purge_telling import PurgeTelling
from services.history.records import from_milliseconds, to_milliseconds
from services.history.user_ports import PurgeMark, PurgeMarks, PurgeWords
from services.history.user_sweeping import Sweeping
from shared.contracts.ids import UserId
from shared.contracts.user_purge import (
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    UserDataReply,
    user_digest,
)
from shared.errors import BrokerUnavailable, HistoryUnavailable
from shared.messaging.jetstream import ApiError
from shared.observability import audit
from shared.tasks import end_tasks

_AT_ONCE: Final = 4
"""Purges that are worked on at once: each keeps the database busy."""
_LOOK: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_COUNTING: Final = 3.5
"""Seconds that one who asks waits for a count: less than a question may take."""

log = structlog.stdlib.get_logger(__name__)


class UserPurging:
    """The use case, and the loops that carry it out."""

    def __init__(
        self,
        marks: PurgeMarks,
        words: PurgeWords,
        sweeping: Sweeping,
        holding: Holding,
        *,
        slack: timedelta,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        """Wire it.

        Args:
            marks: Which users go, and went.
            words: What gateways are told.
            sweeping: What a pass does.
            holding: So that only one process does it.
            slack: By how much the clocks of gateways may differ from this one.
            now: The time.
            clock: Monotonic seconds.
        """
        self._marks = marks
        self._words = words
        self._telling = PurgeTelling(marks, words)
        self._sweeping = sweeping
        self._holding = holding
        self._slack = slack
        self._now = now
        self._clock = clock
        self._nudged = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._going: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        """How often in succession, and when it is tried again."""

    async def look(self, query: UserDataQuery) -> UserDataReply:
        """How much there is, if that can be counted in time, and how far its removal is.

        Raises:
            HistoryUnavailable: the database is away.
        """
        data: UserData | None = None
        if query.counted:
            with suppress(TimeoutError):
                async with asyncio.timeout(_COUNTING):
                    data = await self._sweeping.count(query.user_id)
        return _reply(await self._marks.find(user_digest(query.user_id)), data)

    async def begin(self, command: PurgeUser) -> UserDataReply:
        """See to it that all of it goes; from the answer on this outlives any crash.

        Nothing is counted: that may take long, and the loop does it.

        Raises:
            HistoryUnavailable: the database or the broker is away; perhaps it has begun.
        """
        now, before, settles_at = self._times()
        digest = user_digest(command.user_id)
        wanted = PurgeMark(
            id=digest,
            user_id=command.user_id,
            begun_at=now,
            before=before,
            settles_at=settles_at,
        )
        mark = await self._marks.begin(wanted)
        try:
            await self._words.under_way(digest)
        except BrokerUnavailable as error:
            message = f"It will be done, but gateways do not know of it yet: {error.message}"
            raise HistoryUnavailable(message) from error
        self._nudged.set()
        return _reply(await self._told(mark), None)

    async def due(self, interval: float) -> None:
        """Wait until there may be work: ``interval`` seconds, or sooner."""
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._nudged.wait()

    async def work(self) -> None:
        """Have what is due of all purges done; returns when it is, or soon.

        Raises:
            HistoryUnavailable, BrokerUnavailable: nobody knows what is due; try again.
        """
        self._nudged.clear()
        marks = [mark for mark in await self._marks.under_way() if mark.user_id is not None]
        ids = {mark.id for mark in marks}
        self._holding.only(ids)
        self._failed = {key: failed for key, failed in self._failed.items() if key in ids}
        # Again each time: the broker may have lost its store, or who began this has died.
        told = [mark for mark in marks if await self._telling.tell(mark.id)]
        for mark in told:
            _, again = self._failed.get(mark.id, (0, 0.0))
            if mark.id not in self._going and self._clock() >= again and self._is_due(mark):
                self._start(mark)
        if self._going:
            await asyncio.wait(set(self._going.values()), timeout=_LOOK)

    async def stop(self) -> None:
        """Cut off what is being done; this or another process goes on with it."""
        await end_tasks(list(self._going.values()))

    def _is_due(self, mark: PurgeMark) -> bool:
        settled = to_milliseconds(self._now()) >= mark.settles_at
        return (mark.swept_at is None or settled) and self._holding.is_free(mark)

    def _start(self, mark: PurgeMark) -> None:
        task = asyncio.create_task(self._isolated(mark), name="purge-user")
        self._going[mark.id] = task
        task.add_done_callback(lambda _done: self._going.pop(mark.id))

    async def _isolated(self, mark: PurgeMark) -> None:
        try:
            async with self._room:
                await self._holding.during(mark, lambda hold: self._go_on(mark, hold))
        except (HistoryUnavailable, BrokerUnavailable, ApiError) as error:
            log.warning("purge_postponed", purge=mark.id, seconds=self._later(mark), why=str(error))
        except Exception:
            # Of one user: it must not keep the others from being removed.
            log.exception("purge_failed", purge=mark.id, seconds=self._later(mark))
        else:
            self._failed.pop(mark.id, None)

    def _later(self, mark: PurgeMark) -> float:
        failures, _ = self._failed.get(mark.id, (0, 0.0))
        pause = min(2.0**failures, _LONGEST_PAUSE)
        self._failed[mark.id] = (failures + 1, self._clock() + pause)
        return pause

    async def _go_on(self, mark: PurgeMark, hold: Hold) -> None:
        assert mark.user_id is not None
        if mark.swept_at is None:
            await self._first(mark, mark.user_id, hold)
        else:
            await self._last(mark, mark.user_id, hold)

    async def _first(self, mark: PurgeMark, user_id: UserId, hold: Hold) -> None:
        if mark.told_at is None:
            mark = await self._told(mark)
        if mark.found is None:
            await self._marks.keep_found(mark.id, await self._sweeping.count(user_id))
        running = await self._sweeping.sweep(mark, user_id, hold)
        await self._marks.swept(mark.id, to_milliseconds(self._now()), running)
        log.info("user_swept", running=len(running))

    async def _told(self, mark: PurgeMark) -> PurgeMark:
        """Gateways know by now; perhaps long after the order, which outlives a crash before that.

        What they accepted until now may end after the first pass, so all times begin here.
        """
        now, before, settles_at = self._times()
        return await self._marks.tell(mark.id, now, before, settles_at) or mark

    def _times(self) -> tuple[int, int, int]:
        """Now, and when what must be earlier to go and may be done last, as of now."""
        now = to_milliseconds(self._now())
        slack = self._slack // timedelta(milliseconds=1)
        # A gateway's clock may be as far ahead or behind: what it accepted before it heard of this
        # is earlier than the one, and what it accepts when it lets the user in again is not.
        return now, now + slack, now + 2 * slack

    async def _last(self, mark: PurgeMark, user_id: UserId, hold: Hold) -> None:
        # Its gateway withdraws a request that waits, and says so to whoever reads the answer; what
        # is still there now is of a gateway that is gone.
        withdrawn = await self._sweeping.withdraw(user_id)
        await self._sweeping.sweep(mark, user_id, hold)
        known, word = await self._marks.find(mark.id), await self._words.find(mark.id)
        # First the mark: were the word first, and this process died between the two, all that the
        # user has made since would be removed by who goes on. ``PurgeTelling`` says it then.
        if not await self._marks.finish(mark.id, self._holding.name, to_milliseconds(self._now())):
            return
        keys = len((known or mark).revoked_ids or ())
        log.info("requests_withdrawn", count=withdrawn)
        audit.record("user.purged", actor=None, target=f"user:{user_id}", user=user_id, count=keys)
        if word is not None:
            # If it stands: another purge of the same user may have begun.
            await self._words.take_back(mark.id, word.revision)


def _reply(mark: PurgeMark | None, data: UserData | None) -> UserDataReply:
    if mark is None:
        return UserDataReply(data=data)
    return UserDataReply(
        data=data,
        found=mark.found,
        state=_state(mark),
        begun_at=from_milliseconds(mark.begun_at),
        settles_at=from_milliseconds(mark.settles_at),
    )


def _state(mark: PurgeMark) -> PurgeState:
    if mark.finished_at is not None:
        return PurgeState.PURGED
    return PurgeState.REMOVING if mark.swept_at is None else PurgeState.SETTLING
