"""Where a ``/v1`` completion goes in its session: pure, from the branch's end and the messages.

The client's ``messages`` are the context of the model; the session stores only what it does not
hold yet. Which that is follows from counts first and digests second, as a client may send the whole
conversation, a shortened one, or the last message again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.api.completions.orders import TurnPlan
from shared.contracts import ids
from shared.contracts.chat import Message
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import NewMessage, NewTurn
from shared.contracts.history import TITLE_LENGTH, MessageRef, SessionHead
from shared.contracts.ids import CompletionId, MessageId, SessionId

_TITLE_WORDS: Final = 5


class PlacedTurn(NamedTuple):
    """What ``accepted`` brings, and where the answer goes."""

    turn: NewTurn
    place: AnswerPlace


def place_turn(
    session_id: SessionId,
    head: SessionHead,
    messages: Sequence[Message],
    completion_id: CompletionId,
) -> PlacedTurn:
    """Place a completion after ``head``.

    New are the messages after the last assistant one. A stored last user message that is sent again
    is a regenerate: nothing new, and the answer becomes its other child.
    """
    new = _after_last_answer(messages)
    if _is_regenerate(head, messages, len(new)):
        return place_under(session_id, head, head.last_user, [], completion_id)
    return place_under(session_id, head, head.leaf, new, completion_id)


def place_under(
    session_id: SessionId,
    head: SessionHead,
    parent: MessageRef | None,
    new: Sequence[Message],
    completion_id: CompletionId,
    beside: Sequence[MessageId] = (),
) -> PlacedTurn:
    """Place new messages, and the answer to them, after ``parent``; ``beside`` what follows it."""
    stored = _number(new, parent, completion_id)
    if stored:
        siblings = _with(beside, stored[0].id)
        stored[0] = stored[0].model_copy(update={"sibling_ids": siblings})
    last = stored[-1] if stored else parent
    turn_number = head.turn + 1
    turn = NewTurn(
        session_id=session_id,
        turn=turn_number,
        messages=stored,
        title=None if head.titled else _title_of(new),
    )
    answer = ids.message_id(completion_id, "assistant")
    place = AnswerPlace(
        session_id=session_id,
        message_id=answer,
        parent_id=last.id if last is not None else None,
        depth=last.depth + 1 if last is not None else 1,
        turn=turn_number,
        new_message_ids=[message.id for message in stored],
        sibling_ids=_with(beside, answer) if not stored else None,
    )
    return PlacedTurn(turn, place)


def place_planned(session_id: SessionId, plan: TurnPlan, completion_id: CompletionId) -> PlacedTurn:
    """Place a turn that was planned."""
    head, parent, new = plan.head, plan.parent, plan.new
    return place_under(session_id, head, parent, new, completion_id, plan.beside)


def title_from(text: str) -> str | None:
    """The first five words, ``...`` if there are more; ``None`` if there is no word."""
    words = text.split()
    if not words:
        return None
    more = "..." if len(words) > _TITLE_WORDS else ""
    return " ".join(words[:_TITLE_WORDS])[: TITLE_LENGTH - len(more)] + more


def _with(beside: Sequence[MessageId], new: MessageId) -> list[MessageId] | None:
    return [*beside, new] if beside else None


def _after_last_answer(messages: Sequence[Message]) -> Sequence[Message]:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return messages[index + 1 :]
    return messages


def _is_regenerate(head: SessionHead, messages: Sequence[Message], new: int) -> bool:
    depth = head.leaf.depth if head.leaf is not None else 0
    if head.last_user is None or not messages or new == 0:
        return False
    if len(messages) - new == depth:
        # The client shows exactly the branch that is stored, and something after it.
        return False
    if messages[-1].digest() != head.last_user.digest:
        return False
    if len(messages) == head.last_user.depth:
        return True
    # The client has shortened its context. The same words again are a new message only if it shows
    # the answer that they got.
    return not _shows(head.leaf, messages)


def _shows(leaf: MessageRef | None, messages: Sequence[Message]) -> bool:
    if leaf is None or leaf.role != "assistant":
        return False
    answers = [message for message in messages if message.role == "assistant"]
    return bool(answers) and answers[-1].digest() == leaf.digest


def _number(
    new: Sequence[Message], parent: MessageRef | None, completion_id: CompletionId
) -> list[NewMessage]:
    stored: list[NewMessage] = []
    seen: dict[str, int] = {}
    parent_id = parent.id if parent is not None else None
    depth = parent.depth if parent is not None else 0
    for message in new:
        number = seen.get(message.role, 0)
        seen[message.role] = number + 1
        depth += 1
        message_id = ids.message_id(completion_id, message.role, number)
        stored.append(NewMessage(id=message_id, parent_id=parent_id, depth=depth, message=message))
        parent_id = message_id
    return stored


def _title_of(new: Sequence[Message]) -> str | None:
    first = next((message for message in new if message.role == "user"), None)
    return title_from(first.text()) if first is not None else None
