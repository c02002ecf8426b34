"""Opaque cursors: the place of the last session or message in its order."""

import base64
import binascii
import re
from typing import Final

from shared.contracts.ids import MessageId, SessionId
from shared.errors import InvalidRequest

_CONTENT: Final = re.compile(r"(\d{1,15})\|([0-9A-Za-z-]{1,64})")


def to_cursor(updated_at: int, session_id: SessionId) -> str:
    """Where the next page begins."""
    return _encoded(updated_at, session_id)


def parse_cursor(cursor: str) -> tuple[int, SessionId]:
    """Read what ``to_cursor`` made.

    Raises:
        InvalidRequest: it did not.
    """
    updated_at, session_id = _decoded(cursor)
    return updated_at, SessionId(session_id)


def to_place(depth: int, message_id: MessageId) -> str:
    """Where the next page of a tree begins."""
    return _encoded(depth, message_id)


def parse_place(cursor: str) -> tuple[int, MessageId]:
    """Read what ``to_place`` made.

    Raises:
        InvalidRequest: it did not.
    """
    depth, message_id = _decoded(cursor)
    return depth, MessageId(message_id)


def _encoded(number: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{number}|{name}".encode()).rstrip(b"=").decode()


def _decoded(cursor: str) -> tuple[int, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("The cursor is none that a page has given.", param="cursor") from error
    match = _CONTENT.fullmatch(text)
    if match is None:
        raise InvalidRequest("The cursor is none that a page has given.", param="cursor")
    return int(match[1]), match[2]
