"""A frame on a chunk subject: a short fixed head, then bytes that no reader has to parse.

The gateway relays the body of a ``TOKENS`` frame as it is: finished SSE events
(``data: {...}`` and a blank line), ``events`` of them, the first with index ``first``. Index counts
SSE events from 0 over all attempts; the other kinds have none and carry the next one in ``first``.
"""

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct("!BBHIIIII")
_VERSION: Final = 1
HEAD_SIZE: Final = _HEAD.size
HANDED_OVER: Final = b"handed over"
"""The last heartbeat of a worker that stops in order: its attempt has not failed."""


class FrameKind(IntEnum):
    """What the body of a frame is."""

    TOKENS = 1
    """Finished SSE events."""
    HEARTBEAT = 2
    """Nothing: the worker lives. Or ``HANDED_OVER``."""
    SNAPSHOT = 3
    """JSON ``{"text", "thinking", "tool_calls"}``: everything so far."""
    END = 4
    """JSON ``CompletionCompleted`` without its text, thinking and tool calls: the terminal."""
    TAKEOVER = 5
    """Nothing: from here on only frames of this attempt, or a later one, count."""
    FROM = 6
    """The ``PartialDigest`` of what this attempt goes on from (nothing where it is not known).

    ``first`` is the index that comes next: everything before it counts, everything else that
    earlier attempts have sent does not exist.
    """


class MalformedFrame(ValueError):
    """Not a frame of a version that this process knows."""


class Frame(NamedTuple):
    """One frame, head and body."""

    kind: FrameKind
    attempt: int
    """Rises with each takeover, not always by one; 1 for who ran it on its first delivery."""
    first: int
    """Index of the first event in the body; for other kinds the next index to come."""
    events: int
    """Number of events in the body; 0 for other kinds."""
    tokens: int
    """Tokens that the engine has made so far, this frame included."""
    text_length: int
    """Characters of answer text sent so far, this frame included."""
    thinking_length: int
    """Characters of thinking sent so far, this frame included."""
    body: bytes

    def to_bytes(self) -> bytes:
        """The head in network byte order, then the body."""
        return _HEAD.pack(_VERSION, *self[:-1]) + self.body

    @property
    def next_index(self) -> int:
        """The index that follows this frame."""
        return self.first + self.events


def parse_frame(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        MalformedFrame: too short, another version, an unknown kind.
    """
    if len(data) < HEAD_SIZE:
        message = f"a frame has at least {HEAD_SIZE} bytes, not {len(data)}"
        raise MalformedFrame(message)
    version, kind, *numbers = _HEAD.unpack_from(data)
    if version != _VERSION or kind not in _KINDS:
        message = f"frame version {version}, kind {kind}"
        raise MalformedFrame(message)
    attempt, first, events, tokens, text_length, thinking_length = numbers
    return Frame(
        _KINDS[kind],
        attempt,
        first,
        events,
        tokens,
        text_length,
        thinking_length,
        data[HEAD_SIZE:],
    )


class PartialDigest:
    """Hash of the ``TOKENS`` bodies of an answer, in order from index 0: 16 bytes.

    Unknown once a part of the answer came by other means, such as a snapshot.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._known = True

    def update(self, body: bytes) -> None:
        """Add the body of the next frame."""
        self._hash.update(body)

    def forget(self) -> None:
        """A part came that was no frame's body."""
        self._known = False

    def value(self) -> bytes:
        """The hash; empty where it is not known."""
        return self._hash.digest() if self._known else b""

    def copy(self) -> "PartialDigest":
        """Another one that goes on from here."""
        other = PartialDigest()
        other._hash, other._known = self._hash.copy(), self._known
        return other


_KINDS: Final = {int(kind): kind for kind in FrameKind}
