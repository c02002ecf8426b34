"""From events to the records that they leave. Pure."""

from services.history.places import Leaf
from services.history.records import (
    Advance,
    MessageRecord,
    UsageRecord,
    text_size,
    to_milliseconds,
)
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted, NewMessage, NewTurn
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId


def usage_of(event: CompletionCompleted) -> UsageRecord | None:
    """What it took; ``None`` if no engine was reached."""
    usage = event.usage
    if usage is None:
        return None
    day = event.created_at.strftime("%Y-%m-%d")
    return UsageRecord(
        id=event.completion_id,
        user_id=event.user_id,
        key_id=event.key_id,
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


def message_of(event: CompletionAccepted, turn: NewTurn, new: NewMessage) -> MessageRecord:
    """A message that the turn brings."""
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


def has_answer(event: CompletionCompleted) -> bool:
    """Whether anything is left of what was said."""
    return bool(
        event.text
        or event.thinking
        or event.tool_calls
        or event.status is CompletionStatus.COMPLETED
    )


def answer_of(event: CompletionCompleted, place: AnswerPlace) -> MessageRecord:
    """The answer, however it ended."""
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


def advance_of(event: CompletionCompleted, place: AnswerPlace) -> Advance:
    """How the end moves its session forward."""
    updated_at = to_milliseconds(event.completed_at)
    if has_answer(event):
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
