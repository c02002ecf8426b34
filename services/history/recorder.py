"""Store what an event says: once, however often and in whatever order it comes.

Nothing here reads and then writes what it read: two replicas may record the same event at once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from services.history.event_format import Event
from services.history.ports import TurnStore
from services.history.records import Advance, OpenCompletion, to_milliseconds
from services.history.turn_records import (
    advance_of,
    answer_of,
    has_answer,
    message_of,
    usage_of,
)
from services.history.words import said_words, words_of
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.history import TITLE_LENGTH
from shared.contracts.ids import MessageId, SessionId

log = structlog.stdlib.get_logger(__name__)


class Recorder:
    """The one writer of usage, of messages, and of the words that these are found by."""

    def __init__(self, turns: TurnStore) -> None:
        self._turns = turns

    async def record(self, event: Event, time: datetime) -> bool:
        """Store one event; ``time`` is when the broker took it.

        Returns:
            Whether it is kept. Of a user whose data was purged nothing comes back: the log must
            not keep such an event either.

        Raises:
            HistoryUnavailable: the database is away; record it again later.
            RefusedByStore: the database will never take it.
        """
        if await self._is_purged(event):
            await self._turns.forget_completion(event.user_id, event.completion_id)
            return False
        if isinstance(event, CompletionAccepted):
            await self._accepted(event, time)
        else:
            await self._completed(event)
        if await self._is_purged(event):
            # A purge that has begun since the first look removes this too, unless this process was
            # frozen until it was over. Messages have gone with their session, see ``_clear``.
            await self._turns.forget_completion(event.user_id, event.completion_id)
            return False
        return True

    async def _is_purged(self, event: Event) -> bool:
        if isinstance(event, CompletionAccepted):
            accepted_at = event.accepted_at
        else:
            accepted_at = event.created_at
        mark = await self._turns.purge_of(event.user_id)
        return mark is not None and to_milliseconds(accepted_at) < mark.before

    async def _accepted(self, event: CompletionAccepted, time: datetime) -> None:
        turn = event.turn
        if turn is not None and await self._owned(event, turn.session_id):
            await self._turns.add_messages([message_of(event, turn, new) for new in turn.messages])
            title = turn.title[:TITLE_LENGTH] if turn.title else None
            advance = Advance(turn.turn, running=(event.completion_id, title) if title else None)
            await self._turns.advance(event.user_id, turn.session_id, advance)
            known = await self._turns.known(event.completion_id)
            if known.ended:
                # The end came first, and did not find them.
                ids = [new.id for new in turn.messages]
                await self._settle(event, turn.session_id, ids, rejected=known.rejected)
            await self._clear(event, turn.session_id)
        overdue = time + timedelta(seconds=event.overdue_after_s)
        await self._turns.open_completion(
            OpenCompletion(
                id=event.completion_id,
                user_id=event.user_id,
                model=event.model,
                accepted_at=to_milliseconds(event.accepted_at),
                overdue_at=to_milliseconds(overdue),
                place=event.place,
            )
        )

    async def _completed(self, event: CompletionCompleted) -> None:
        place = event.place
        if place is not None and not await self._owned(event, place.session_id):
            place = None
        rejected = event.status is CompletionStatus.REJECTED
        if rejected:
            await self._hide(event, place)
        else:
            await asyncio.gather(self._store_usage(event), self._store_answer(event, place))
            if place is not None:
                await self._turns.advance(event.user_id, place.session_id, advance_of(event, place))
        ended_at = to_milliseconds(event.completed_at)
        await self._turns.end_completion(
            event.completion_id, event.user_id, ended_at, rejected=rejected
        )
        if place is not None:
            # After the mark: of two that record the halves of a turn at once, each having marked or
            # stored its own before it looks for the other's, at least one sees both.
            await self._settle(event, place.session_id, place.new_message_ids, rejected=rejected)
            await self._clear(event, place.session_id)

    async def _settle(
        self, event: Event, session_id: SessionId, ids: Sequence[MessageId], *, rejected: bool
    ) -> None:
        """Both halves of a turn are there: its title stays or goes, and its words are found."""
        user_id, completion_id = event.user_id, event.completion_id
        title = await self._turns.running_title(user_id, session_id, completion_id)
        if not rejected:
            messages = await self._turns.messages(user_id, session_id, ids)
            words = {word for it in messages for word in said_words(it.role, it.content)}
            await self._turns.add_terms(user_id, session_id, words, said=True)
            if title is not None:
                # Before the title: one that is not found by its words would stay so.
                await self._turns.add_terms(user_id, session_id, words_of(title), said=False)
        await self._turns.settle_title(user_id, session_id, completion_id, keep=not rejected)

    async def _clear(self, event: Event, session_id: SessionId) -> None:
        """Take back what was stored if the session has begun to be purged meanwhile.

        A purge marks the session before it removes anything: either it comes after the mark and
        sees what was written, or the mark is seen here.
        """
        if not await self._turns.owns(event.user_id, session_id):
            await self._turns.forget(event.user_id, session_id)

    async def _hide(self, event: CompletionCompleted, place: AnswerPlace | None) -> None:
        if place is not None and place.new_message_ids:
            await self._turns.hide_messages(
                event.user_id, place.session_id, event.completion_id, place.new_message_ids
            )

    async def _store_usage(self, event: CompletionCompleted) -> None:
        usage = usage_of(event)
        if usage is not None:
            await self._turns.add_usage(usage)

    async def _store_answer(self, event: CompletionCompleted, place: AnswerPlace | None) -> None:
        if place is not None and has_answer(event):
            answer = answer_of(event, place)
            await self._turns.add_messages([answer])
            words = said_words(answer.role, answer.content)
            await self._turns.add_terms(event.user_id, place.session_id, words, said=True)

    async def _owned(self, event: Event, session_id: SessionId) -> bool:
        if await self._turns.owns(event.user_id, session_id):
            return True
        log.warning(
            "event_of_unknown_session", completion_id=event.completion_id, session_id=session_id
        )
        # Whoever recorded it before may have been cut off in the middle of a purge.
        await self._turns.forget(event.user_id, session_id)
        return False
