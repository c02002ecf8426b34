"""The two messages of a turn as they will be stored: pure, known before history has them."""

from services.api.completions.orders import Order
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.history import StoredMessage
from shared.contracts.ids import CompletionId, MessageId, message_id

ANSWER = "assistant"


def answer_id(completion_id: CompletionId) -> MessageId:
    """Of the answer that a completion will leave."""
    return message_id(completion_id, ANSWER)


def question_id(order: Order) -> MessageId | None:
    """Of the user message that a planned turn brings; ``None`` for another answer."""
    if order.plan is None or not order.plan.new:
        return None
    return message_id(order.completion_id, order.plan.new[-1].role)


def question_of(order: Order) -> StoredMessage | None:
    """The user message that a planned turn brings."""
    plan, own_id = order.plan, question_id(order)
    if plan is None or own_id is None:
        return None
    asked = plan.new[-1]
    alone = len(plan.new) > 1 or not plan.beside
    return StoredMessage(
        id=own_id,
        role=asked.role,
        content=asked.content,
        created_at=order.created_at,
        parent_id=plan.parent.id if plan.parent is not None else None,
        depth=plan.parent.depth + 1 if plan.parent is not None else 1,
        completion_id=order.completion_id,
        sibling_ids=None if alone else [*plan.beside, own_id],
    )


def question_of_turn(accepted: CompletionAccepted) -> StoredMessage | None:
    """The last user message that an accepted turn brought; ``None`` for another answer."""
    turn = accepted.turn
    if turn is None:
        return None
    new = next((new for new in reversed(turn.messages) if new.message.role == "user"), None)
    if new is None:
        return None
    return StoredMessage(
        id=new.id,
        role=new.message.role,
        content=new.message.content,
        created_at=accepted.accepted_at,
        parent_id=new.parent_id,
        depth=new.depth,
        completion_id=accepted.completion_id,
        sibling_ids=new.sibling_ids,
    )


def answer_of(end: CompletionCompleted) -> StoredMessage | None:
    """The answer that a completion leaves in its session; ``None`` where it has none."""
    place = end.place
    if place is None:
        return None
    return StoredMessage(
        id=place.message_id,
        role="assistant",
        content=None if end.tool_calls and not end.text else end.text,
        created_at=end.completed_at,
        parent_id=place.parent_id,
        depth=place.depth,
        completion_id=end.completion_id,
        status=end.status,
        finish_reason=end.finish_reason,
        model=end.model,
        thinking=end.thinking or None,
        tool_calls=end.tool_calls or None,
        usage=end.usage,
        attempts=end.attempts if end.attempts > 1 else None,
        continued_at=end.continued_at,
        context_omitted=end.context_omitted,
        sibling_ids=place.sibling_ids,
    )
