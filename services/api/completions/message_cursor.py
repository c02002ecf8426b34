"""Cursors of messages: which side of which depth, of which branch. Pure."""

import re
from typing import Final, NamedTuple

from shared.contracts.history import SessionDetail
from shared.contracts.ids import MessageId
from shared.errors import InvalidRequest

LENGTH: Final = 100
"""No cursor is longer."""
_FORM: Final = re.compile(r"(before|after)-([0-9]{1,9})(?:-([0-9a-f-]{1,64}))?", re.ASCII)


class MessageCursor(NamedTuple):
    """``leaf`` ends the branch: another turn may make another one active between two pages."""

    before_depth: int | None = None
    after_depth: int | None = None
    leaf: MessageId | None = None


def parse_message_cursor(cursor: str | None, leaf: MessageId | None) -> MessageCursor:
    """Read what a page has given; one of before there were leaves in them has none.

    ``leaf`` is what the request names beside it.

    Raises:
        InvalidRequest: no page has given it, or it is another branch's.
    """
    if cursor is None:
        return MessageCursor(leaf=leaf)
    match = _FORM.fullmatch(cursor)
    if match is None:
        raise InvalidRequest("The cursor is none that a page has given.", param="cursor")
    own = MessageId(match[3]) if match[3] is not None else None
    if own is not None and leaf not in (None, own):
        raise InvalidRequest("The cursor is of another branch than leaf.", param="cursor")
    depth = int(match[2])
    if match[1] == "before":
        return MessageCursor(before_depth=depth, leaf=own or leaf)
    return MessageCursor(after_depth=depth, leaf=own or leaf)


def older(detail: SessionDetail, leaf: MessageId | None) -> str | None:
    """The cursor of the page before, on the branch to ``leaf``."""
    return _cursor("before", detail.next_before_depth, leaf)


def newer(detail: SessionDetail, leaf: MessageId | None) -> str | None:
    """The cursor of the page after, on the branch to ``leaf``."""
    return _cursor("after", detail.next_after_depth, leaf)


def _cursor(side: str, depth: int | None, leaf: MessageId | None) -> str | None:
    if depth is None:
        return None
    return f"{side}-{depth}-{leaf}" if leaf is not None else f"{side}-{depth}"
