"""Store what an event says: once, however often and in whatever order it comes.

Nothing here reads and then writes what it read: two replicas may record the same event at once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from services.history.event_format import Event
from services.history.places import Leaf
from services.history.ports import TurnStore
from services.history.records import (
    Advance,
    MessageRecord,
    OpenCompletion,
    UsageRecord,
    text_size,
    to_milliseconds,
)
from services.history.words import said_words, words_of
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted, NewMessage, NewTurn
from shared.contracts.history import TITLE_LENGTH
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId

log = structlog.stdlib.get_logger(__name__)


class Recorder:
    """The one writer of usage, of messages, and of the words that these are found by."""

    def __init__(self, turns: TurnStore) -> None:
        self._turns = turns

    async def record(self, event: Event, time: datetime) -> None:
        """Store one event; ``time`` is when the broker took it.

        Raises:
            HistoryUnavailable: the database is away; record it again later.
            RefusedByStore: the database will never take it.
        """
        if isinstance(event, CompletionAccepted):
            await self._accepted(event, time)
        else:
            await self._completed(event)

    async def _accepted(self, event: CompletionAccepted, time: datetime) -> None:
        turn = event.turn
        if turn is not None and await self._owned(event, turn.session_id):
            await self._turns.add_messages([_message(event, turn, new) for new in turn.messages])
            title = turn.title[:TITLE_LENGTH] if turn.title else None
            if title is not None:
                await self._turns.add_terms(
                    event.user_id, turn.session_id, words_of(title), said=False
                )
            advance = Advance(turn=turn.turn, title=title)
            await self._turns.advance(event.user_id, turn.session_id, advance)
            if (await self._turns.known(event.completion_id)).ended:
                # The end came first, and did not find them.
                ids = [new.id for new in turn.messages]
                await self._make_findable(event.user_id, turn.session_id, ids)
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
        if event.status is CompletionStatus.REJECTED:
            await self._hide(event, place)
        else:
            await asyncio.gather(self._store_usage(event), self._store_answer(event, place))
            if place is not None:
                await self._turns.advance(event.user_id, place.session_id, _advance(event, place))
        ended_at = to_milliseconds(event.completed_at)
        await self._turns.end_completion(event.completion_id, event.user_id, ended_at)
        if place is not None:
            # After the mark: of two that record the halves of a turn at once, each having marked or
            # stored its own before it looks for the other's, at least one sees both.
            await self._make_findable(event.user_id, place.session_id, place.new_message_ids)

    async def _make_findable(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> None:
        """Let searches find questions, once their turn has ended: a rejected one is not there."""
        messages = await self._turns.messages(user_id, session_id, ids)
        words = {word for it in messages for word in said_words(it.role, it.content)}
        await self._turns.add_terms(user_id, session_id, words, said=True)

    async def _hide(self, event: CompletionCompleted, place: AnswerPlace | None) -> None:
        if place is not None and place.new_message_ids:
            await self._turns.hide_messages(
                event.user_id, place.session_id, event.completion_id, place.new_message_ids
            )

    async def _store_usage(self, event: CompletionCompleted) -> None:
        usage = event.usage
        if usage is None:
            return
        day = event.created_at.strftime("%Y-%m-%d")
        await self._turns.add_usage(
            UsageRecord(
                id=event.completion_id,
                user_id=event.user_id,
                session_id=event.place.session_id if event.place else None,
                model_used=event.model,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                total_tokens=usage.total_tokens,
                estimated=usage.estimated,
                status=event.status,
                created_at=to_milliseconds(event.created_at),
                day=day,
                day_model=f"{day}|{event.model}",
                first_token_ms=event.timings.first_token_ms,
                total_ms=event.timings.total_ms,
            )
        )

    async def _store_answer(self, event: CompletionCompleted, place: AnswerPlace | None) -> None:
        if place is not None and _has_answer(event):
            answer = _answer(event, place)
            await self._turns.add_messages([answer])
            words = said_words(answer.role, answer.content)
            await self._turns.add_terms(event.user_id, place.session_id, words, said=True)

    async def _owned(self, event: Event, session_id: SessionId) -> bool:
        if await self._turns.owns(event.user_id, session_id):
            return True
        log.warning(
            "event_of_unknown_session", completion_id=event.completion_id, session_id=session_id
        )
        return False


def _message(event: CompletionAccepted, turn: NewTurn, new: NewMessage) -> MessageRecord:
    message = new.message
    return MessageRecord(
        **_position(event.completion_id, event.user_id, turn.session_id, turn.turn),
        id=new.id,
        parent_id=new.parent_id,
        depth=new.depth,
        role=message.role,
        content=message.content,
        name=message.name,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
        created_at=to_milliseconds(event.accepted_at),
        size=text_size(message),
    )


def _has_answer(event: CompletionCompleted) -> bool:
    return bool(
        event.text
        or event.thinking
        or event.tool_calls
        or event.status is CompletionStatus.COMPLETED
    )


def _answer(event: CompletionCompleted, place: AnswerPlace) -> MessageRecord:
    message = Message(
        role="assistant",
        content=None if event.tool_calls and not event.text else event.text,
        tool_calls=event.tool_calls or None,
    )
    return MessageRecord(
        **_position(event.completion_id, event.user_id, place.session_id, place.turn),
        id=place.message_id,
        parent_id=place.parent_id,
        depth=place.depth,
        role=message.role,
        content=message.content,
        tool_calls=message.tool_calls,
        thinking=event.thinking or None,
        status=event.status,
        finish_reason=event.finish_reason,
        model=event.model,
        usage=event.usage,
        attempts=event.attempts if event.attempts > 1 else None,
        continued_at=event.continued_at,
        context_omitted=event.context_omitted,
        created_at=to_milliseconds(event.completed_at),
        size=text_size(message, Message(role="assistant", content=event.thinking)),
    )


def _advance(event: CompletionCompleted, place: AnswerPlace) -> Advance:
    updated_at = to_milliseconds(event.completed_at)
    if _has_answer(event):
        leaf, depth = Leaf(place.turn, True, place.message_id), place.depth
    elif place.new_message_ids:
        last: MessageId = place.new_message_ids[-1]
        leaf, depth = Leaf(place.turn, False, last), place.depth - 1
    else:
        # A regeneration that brought nothing leaves the answer before it in its place.
        return Advance(turn=place.turn, updated_at=updated_at)
    return Advance(turn=place.turn, message_count=depth, updated_at=updated_at, leaf=str(leaf))


def _position(
    completion_id: CompletionId, user_id: UserId, session_id: SessionId, turn: int
) -> dict[str, object]:
    return {
        "completion_id": completion_id,
        "user_id": user_id,
        "session_id": session_id,
        "turn": turn,
    }
