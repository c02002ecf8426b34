"""Remove for good what was deleted long ago, and marks of completions that nothing asks for."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from services.history.ports import SessionStore
from services.history.records import to_milliseconds
from services.history.user_ports import PurgeMarks
from shared.observability import audit

KEEP_MARKS: Final = timedelta(days=30)
"""Longer than ``CHAT_EVENTS`` keeps an event: a late ``accepted`` must find its end."""
KEEP_HALF_MADE: Final = timedelta(days=1)
"""How long a copy that was begun can be finished; then it is removed, whatever the setting."""
_BATCH: Final = 50


class Retention:
    """``purge_after`` of zero keeps deleted sessions for ever, not copies half made."""

    def __init__(
        self,
        store: SessionStore,
        marks: PurgeMarks,
        *,
        purge_after: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._marks = marks
        self._purge_after = purge_after
        self._now = now

    async def purge(self) -> None:
        """Remove what is due, in small batches.

        Raises:
            HistoryUnavailable: the database is away.
        """
        now = self._now()
        formed_before = to_milliseconds(now - KEEP_HALF_MADE)
        ended_before = to_milliseconds(now - KEEP_MARKS)
        await self._marks.forget(ended_before)
        deleted_before = to_milliseconds(now - self._purge_after) if self._purge_after else 0
        while True:
            purged = await self._store.purge(
                deleted_before, ended_before, _BATCH, formed_before=formed_before
            )
            if purged:
                audit.record("sessions.purge", actor=None, target="session:", count=purged)
            if purged < _BATCH:
                return
