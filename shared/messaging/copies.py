"""Messages that nobody has said: what the broker has copied out of a stream.

The broker answers a Direct Get where the asker wants it, on any subject, with the bytes that are
stored: who may write to one stream and read it could have the broker repeat his words where he may
not publish. Such an answer says which stream it is from; a message that was published does not.
Stored again, it says so twice, of which nats-py shows the last: its head as it was stored tells.
"""

from collections.abc import Mapping
from typing import Final

_MARKS: Final = frozenset({"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"})
"""All of them: the broker writes behind the headers that were stored, and where those do not end
as they should, its first one is taken for a part of the last of theirs."""


def is_stored_copy(head: bytes) -> bool:
    """The same, by the head of a message as it was stored."""
    return any(f"{mark}:".encode() in head for mark in _MARKS)


def is_copy(headers: Mapping[str, object] | None) -> bool:
    """Whether a message that is to be obeyed was none: only its headers tell."""
    return headers is not None and not _MARKS.isdisjoint(headers)
