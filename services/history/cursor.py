"""The opaque cursor of a list of sessions: the place of the last one in the order."""

import base64
import binascii
import re
from typing import Final

from shared.contracts.ids import SessionId
from shared.errors import InvalidRequest

_CONTENT: Final = re.compile(r"(\d{1,15})\|([0-9A-Za-z-]{1,64})")


def to_cursor(updated_at: int, session_id: SessionId) -> str:
    """Where the next page begins."""
    text = f"{updated_at}|{session_id}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def parse_cursor(cursor: str) -> tuple[int, SessionId]:
    """Read what ``to_cursor`` made.

    Raises:
        InvalidRequest: it did not.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("the cursor is malformed", param="cursor") from error
    match = _CONTENT.fullmatch(text)
    if match is None:
        raise InvalidRequest("the cursor is malformed", param="cursor")
    return int(match[1]), SessionId(match[2])
