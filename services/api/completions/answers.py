"""Sessions and messages as the HTTP contract shows them: pure."""

from typing import Any

from services.api.completions.message_cursor import newer, older
from services.api.schemas.sessions import (
    MessageBody,
    MessageListBody,
    MessageUsage,
    SessionBody,
    SessionDetailBody,
)
from services.api.streams.sse import tool_call_bodies
from shared.contracts.chat import ContentPart
from shared.contracts.history import Session, SessionDetail, StoredMessage
from shared.contracts.ids import MessageId


def to_session_body(session: Session) -> SessionBody:
    """A session without its messages."""
    return SessionBody(**session.model_dump())


def to_session_detail(session: Session, detail: SessionDetail) -> SessionDetailBody:
    """A session with its messages."""
    return SessionDetailBody(
        **session.model_dump(),
        messages=[to_message_body(message) for message in detail.messages],
        messages_truncated=detail.next_before_depth is not None,
        next_cursor=older(detail, session.active_leaf),
        next_before_depth=detail.next_before_depth,
    )


def to_message_list(detail: SessionDetail, leaf: MessageId | None) -> MessageListBody:
    """A page of messages of the branch to ``leaf``, or to the active one."""
    if leaf is None and detail.session is not None:
        leaf = detail.session.active_leaf
    return MessageListBody(
        messages=[to_message_body(message) for message in detail.messages],
        next_cursor=older(detail, leaf),
        previous_cursor=newer(detail, leaf),
    )


def to_message_body(message: StoredMessage) -> MessageBody:
    """A message as clients see it."""
    content = message.content
    usage = message.usage
    calls = message.tool_calls
    return MessageBody(
        id=message.id,
        role=message.role,
        content=[_part(part) for part in content] if isinstance(content, list) else content or "",
        created_at=message.created_at,
        parent_id=message.parent_id,
        depth=message.depth,
        completion_id=message.completion_id,
        status=message.status,
        finish_reason=message.finish_reason,
        model=message.model,
        thinking=message.thinking,
        attempts=message.attempts,
        continued_at=message.continued_at,
        context_omitted=message.context_omitted,
        sibling_ids=message.sibling_ids or [message.id],
        tool_calls=tool_call_bodies(calls, indexed=False) if calls else None,
        tool_call_id=message.tool_call_id,
        usage=MessageUsage(**usage.model_dump()) if usage is not None else None,
    )


def _part(part: ContentPart) -> dict[str, Any]:
    if part.type == "text":
        return {"type": "text", "text": part.text or ""}
    return {"type": "image_url", "image_url": {"url": part.image_url}}
