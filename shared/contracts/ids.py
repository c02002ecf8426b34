"""Identifiers: who makes them, and what they look like."""

import hashlib
import re
import uuid
from typing import Final, NewType

import uuid_utils

CompletionId = NewType("CompletionId", str)
"""``chatcmpl-`` and the 32 hex digits of a UUIDv7: sortable by time, 74 random bits."""
SessionId = NewType("SessionId", str)
"""A UUID in its canonical form, lower case, with hyphens."""
MessageId = NewType("MessageId", str)
"""A UUIDv5 of completion and role: storing a turn twice is storing it once."""
UserId = NewType("UserId", str)

_COMPLETION_ID: Final = re.compile(r"chatcmpl-[0-9a-f]{32}")
_SESSIONS: Final = uuid.UUID("0b1f1f0e-54a5-5a3e-8d0c-6f6f6f2f7b52")
_MESSAGES: Final = uuid.UUID("6f1c3f3e-52c7-5d0b-9b0e-0d2a7d6a9c11")


def new_completion_id() -> CompletionId:
    """A fresh completion id."""
    return CompletionId(f"chatcmpl-{uuid_utils.uuid7().hex}")


def is_completion_id(text: str) -> bool:
    """Whether ``text`` may stand in a subject: anything else never reaches NATS."""
    return _COMPLETION_ID.fullmatch(text) is not None


def new_session_id() -> SessionId:
    """A fresh session id."""
    return SessionId(str(uuid_utils.uuid7()))


def new_preset_id() -> str:
    """A fresh preset id."""
    return str(uuid_utils.uuid7())


def parse_preset_id(text: str) -> str | None:
    """As ``parse_session_id``."""
    return parse_session_id(text)


def parse_session_id(text: str) -> SessionId | None:
    """The canonical form of a UUID in any spelling; ``None`` if it is not one."""
    try:
        return SessionId(str(uuid.UUID(text)))
    except ValueError:
        return None


def message_id(completion_id: CompletionId, role: str, number: int = 0) -> MessageId:
    """The id of the ``number``-th message of this role that a completion stores."""
    name = f"{completion_id}:{role}" if number == 0 else f"{completion_id}:{role}:{number}"
    return MessageId(str(uuid.uuid5(_MESSAGES, name)))


def imported_session_id(user_id: UserId, document: bytes, key: str) -> SessionId:
    """The session that an import makes: the same for the same file, user and key.

    Who repeats an import that took too long asks for the same session.
    """
    digest = hashlib.sha256(document).hexdigest()
    return SessionId(str(uuid.uuid5(_SESSIONS, f"{user_id}\n{digest}\n{key}")))


def forked_session_id(
    user_id: UserId, session_id: SessionId, message_id: MessageId, key: str
) -> SessionId:
    """The session that a fork with a key makes: the same for the same place, user and key."""
    return SessionId(str(uuid.uuid5(_SESSIONS, f"{user_id}\n{session_id}\n{message_id}\n{key}")))


def next_session_id(session_id: SessionId, number: int) -> SessionId:
    """The ``number``-th session of a copy that is made once more on purpose."""
    return SessionId(str(uuid.uuid5(_SESSIONS, f"{session_id}\n{number}")))


def copied_message_id(session_id: SessionId, copied: MessageId) -> MessageId:
    """The id of a message's copy in another session: copying twice is copying once."""
    return MessageId(str(uuid.uuid5(_MESSAGES, f"{session_id}:{copied}")))
