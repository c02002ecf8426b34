"""From the messages of an export to those of a new session. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from services.history.places import Leaf
from services.history.records import MessageRecord, text_size, to_milliseconds
from shared.contracts.chat import Message
from shared.contracts.history import StoredMessage
from shared.contracts.ids import (
    CompletionId,
    MessageId,
    SessionId,
    UserId,
    copied_message_id,
    is_completion_id,
)
from shared.errors import InvalidRequest

MOST_MESSAGES: Final = 20_000


class Imported(NamedTuple):
    """The messages, parents before children, and where the next turn goes."""

    messages: list[MessageRecord]
    turn: int
    depth: int
    leaf: Leaf | None


class _Planted(NamedTuple):
    message: StoredMessage
    depth: int
    time: int
    """When it was made, in milliseconds, but never before its parent."""


def import_messages(
    messages: Sequence[StoredMessage],
    active_leaf: MessageId | None,
    user_id: UserId,
    session_id: SessionId,
) -> Imported:
    """Give the messages of an export their place in a session of their own.

    Depths follow from parents. An export has no turns: they are counted anew, by time; a message
    goes on with its parent's turn where it is the first that follows a question.

    Raises:
        InvalidRequest: the messages are no tree, each after its parent; says where.
    """
    planted = _plant(messages)
    turns = _turns(planted)
    records = [
        _record(it, turns[it.message.id], user_id, session_id)
        for it in sorted(planted.values(), key=lambda it: it.depth)
    ]
    if active_leaf is not None and active_leaf not in planted:
        raise InvalidRequest(
            "The field active_leaf names none of the messages.", param="active_leaf"
        )
    last = max(turns.values(), default=0)
    end = active_leaf
    if end is None and planted:
        end = max(planted, key=lambda key: (turns[key], planted[key].depth, key))
    return Imported(
        messages=records,
        turn=last,
        depth=max((it.depth for it in planted.values()), default=0),
        leaf=_leaf(planted[end].message, last, session_id) if end is not None else None,
    )


def _plant(messages: Sequence[StoredMessage]) -> dict[MessageId, _Planted]:
    if len(messages) > MOST_MESSAGES:
        text = f"A session can be imported with at most {MOST_MESSAGES} messages."
        raise InvalidRequest(text, param="messages")
    planted: dict[MessageId, _Planted] = {}
    for index, message in enumerate(messages):
        if message.id in planted:
            raise _no_tree(index, "id", "is that of another message, too")
        parent = planted.get(message.parent_id) if message.parent_id is not None else None
        if message.parent_id is not None and parent is None:
            raise _no_tree(index, "parent_id", "names none of the messages before it")
        time = to_milliseconds(_aware(message.created_at))
        depth, since = (parent.depth, parent.time) if parent is not None else (0, time)
        planted[message.id] = _Planted(message, depth + 1, max(time, since))
    return planted


def _turns(planted: dict[MessageId, _Planted]) -> dict[MessageId, int]:
    turns: dict[MessageId, int] = {}
    followed: set[MessageId] = set()
    last = 0
    for key, (message, _, _) in sorted(planted.items(), key=lambda it: (it[1].time, it[1].depth)):
        parent = planted[message.parent_id].message if message.parent_id is not None else None
        if parent is not None and parent.role != "assistant" and parent.id not in followed:
            followed.add(parent.id)
            turns[key] = turns[parent.id]
        else:
            last += 1
            turns[key] = last
    return turns


def _record(planted: _Planted, turn: int, user_id: UserId, session_id: SessionId) -> MessageRecord:
    message, parent_id = planted.message, planted.message.parent_id
    said = Message(role=message.role, content=message.content, tool_calls=message.tool_calls)
    thought = Message(role=message.role, content=message.thinking)
    given = message.model_dump(
        exclude={"id", "parent_id", "depth", "created_at", "completion_id", "sibling_ids"}
    )
    return MessageRecord(
        **given,
        id=copied_message_id(session_id, message.id),
        parent_id=copied_message_id(session_id, parent_id) if parent_id is not None else None,
        session_id=session_id,
        user_id=user_id,
        completion_id=_known_form(message.completion_id),
        turn=turn,
        depth=planted.depth,
        created_at=to_milliseconds(_aware(message.created_at)),
        size=text_size(said, thought),
    )


def _leaf(message: StoredMessage, turn: int, session_id: SessionId) -> Leaf:
    # Of the last turn, whichever it came in: it is what is shown until there is a later turn.
    return Leaf(turn, message.role == "assistant", copied_message_id(session_id, message.id))


def _known_form(completion_id: CompletionId | None) -> CompletionId | None:
    return completion_id if completion_id and is_completion_id(completion_id) else None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _no_tree(index: int, field: str, why: str) -> InvalidRequest:
    where = f"messages[{index}].{field}"
    return InvalidRequest(f"The field {where} {why}.", param=where)
