"""Between sessions and files: pure."""

from collections.abc import Sequence
from datetime import UTC
from typing import Final

from services.api.completions.translation import content_of
from services.api.parsing import IMPORTED, checked, read_object
from services.api.schemas.archive import (
    MOST_MESSAGES,
    ExportBody,
    ImportedMessage,
    ImportRequest,
)
from shared.contracts.chat import CompletionStatus, FunctionCall, Message, ToolCall, Usage
from shared.contracts.history import Session, SessionSettings, StoredMessage
from shared.contracts.ids import MessageId, UserId, imported_session_id
from shared.contracts.imports import ImportSession
from shared.errors import PayloadTooLarge

HEADROOM: Final = 64 * 2**10
"""Bytes that the broker carries besides a message, of a page or of an import."""
_WHO = {"user": "You", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def to_export(session: Session, *, has_leaf: bool) -> ExportBody:
    """Everything that can be imported but the messages, which are added one by one."""
    names = {"title", "created_at", *SessionSettings.model_fields}
    return ExportBody(
        **session.model_dump(include=names),
        # One that is not in the file would be refused: a turn may be rejected while it is read.
        active_leaf=session.active_leaf if has_leaf else None,
        messages=[],
    )


def heading(session: Session) -> str:
    """How the Markdown of a session begins."""
    quoted = ["", *("> " + line for line in (session.system_prompt or "").splitlines())]
    return _lines([f"# {' '.join(session.title.split())}", *(quoted if len(quoted) > 1 else [])])


def message_text(message: StoredMessage) -> str:
    """A message in Markdown, under a heading of its own."""
    who = _WHO.get(message.role, message.role)
    by = f" ({message.model})" if message.model else ""
    at = message.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _lines(["", f"## {who}{by}, {at}", "", _text(message)])


def read_import(
    body: bytes, user_id: UserId, key: str, carried: int
) -> tuple[ImportSession, list[str]]:
    """The command that stores a file, and the names in it that nobody knows.

    It takes long: message by message it leaves room for others, and holds no more than it must.

    Raises:
        InvalidRequest: see ``parse_body``.
        PayloadTooLarge: a message could not be read again, as the broker carries only so much.
    """
    value = read_object(body, most=IMPORTED)
    messages = value.get("messages")
    if not isinstance(messages, list) or len(messages) > MOST_MESSAGES:
        checked(value, ImportRequest)
        messages = []
    wanted = checked({**value, "messages": []}, ImportRequest)
    written: list[bytes] = []
    for place, message in enumerate(messages):
        read = checked(message, ImportedMessage, ("messages", place))
        written.append(_stored(read).to_bytes())
        if len(written[-1]) > carried - HEADROOM:
            text = f"A message has {len(written[-1])} bytes; the broker carries {carried}."
            raise PayloadTooLarge(text)
        messages[place] = None
    command = ImportSession(
        user_id=user_id,
        session_id=imported_session_id(user_id, body, key),
        title=(wanted.title or "").strip() or None,
        created_at=wanted.created_at,
        active_leaf=MessageId(wanted.active_leaf) if wanted.active_leaf is not None else None,
        **wanted.settings().model_dump(),
    )
    return command.with_written(written), list(wanted.model_extra or ())


def _lines(lines: Sequence[str]) -> str:
    return "".join([f"{line}\n" for line in lines])


def _text(message: StoredMessage) -> str:
    content = message.content
    text = Message(role=message.role, content=content).text()
    images = sum(part.type != "text" for part in content) if isinstance(content, list) else 0
    called = [call.function for call in message.tool_calls or ()]
    calls = [f"`{function.name}({function.arguments})`" for function in called]
    return "\n\n".join([*([text] if text else []), *["*(an image)*"] * images, *calls])


def _stored(message: ImportedMessage) -> StoredMessage:
    usage = message.usage
    # What only calls tools was exported as saying an empty text.
    silent = message.content == "" and message.tool_calls
    return StoredMessage(
        id=MessageId(message.id),
        role=message.role,
        content=None if silent else content_of(message.content),
        created_at=message.created_at,
        parent_id=MessageId(message.parent_id) if message.parent_id is not None else None,
        depth=1,  # history counts for itself
        model=message.model,
        thinking=message.thinking,
        status=CompletionStatus(message.status) if message.status is not None else None,
        finish_reason=message.finish_reason,
        usage=Usage(**usage.model_dump(include=set(Usage.model_fields))) if usage else None,
        attempts=message.attempts,
        continued_at=message.continued_at,
        context_omitted=message.context_omitted,
        tool_calls=[
            ToolCall(
                id=call.id,
                function=FunctionCall(name=call.function.name, arguments=call.function.arguments),
            )
            for call in message.tool_calls or ()
        ]
        or None,
        tool_call_id=message.tool_call_id,
    )
