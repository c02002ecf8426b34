"""A session that is brought in whole: the one message between services that is megabytes of pieces.

Its bytes are read and written message by message. In a thread that leaves room for others between
two of them, where one call for all would hold up the whole process.
"""

import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Self

from pydantic import Field, PrivateAttr
from pydantic_core import from_json

from shared.contracts.history import CreateSession, StoredMessage
from shared.contracts.ids import MessageId

_PACKED: Final = b"\x1f\x8b"
"""What gzip begins with, and no JSON."""
MOST_BYTES: Final = 256 * 2**20
"""Of a command: a small one may become anything when it is unpacked."""


class ImportSession(CreateSession):
    """A new session with the messages of an export; their ids become ids of their own.

    The same ``session_id`` within ten minutes is the same import, asked for again. After that, and
    where that session was deleted, it is one made once more, and gets an id of its own.
    """

    messages: list[StoredMessage] = Field(default_factory=list)
    """Each after its parent."""
    created_at: datetime | None = None
    """When the session was made that was exported."""
    active_leaf: MessageId | None = None

    _written: bytes = PrivateAttr(default=b"")

    def with_written(self, messages: Sequence[bytes]) -> Self:
        """This one with messages that are bytes already, and are only to be sent.

        Thousands of objects cost every collection of garbage a pause in which nobody has a turn.
        """
        made = self.model_copy()
        made._written = b",".join(messages)  # noqa: SLF001 - of its own class
        return made

    def to_bytes(self) -> bytes:
        """See ``WireModel``."""
        rest = self.model_dump_json(exclude_none=True, exclude={"messages"}).encode()
        messages = self._written or b",".join([message.to_bytes() for message in self.messages])
        return b"".join([rest[:-1], b',"messages":[', messages, b"]}"])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What ``to_bytes`` wrote, or ``packed`` has packed; see ``WireModel``."""
        try:
            value = from_json(_unpacked(data) if data.startswith(_PACKED) else data)
        except (ValueError, zlib.error):
            return super().from_bytes(data)
        messages = value.get("messages") if isinstance(value, dict) else None
        if not isinstance(messages, list):
            return super().from_bytes(data)
        for place, message in enumerate(messages):
            messages[place] = StoredMessage.model_validate(message)
        # What is an instance already is not looked at again.
        return cls.model_validate(value)


def packed(parts: Iterable[bytes]) -> bytes:
    """For a command that is larger than what the broker carries at once: text is mostly air."""
    writer = packer()
    return b"".join([*map(writer.compress, parts), writer.flush()])


def packer() -> "zlib._Compress":
    """How a command is packed, part by part."""
    return zlib.compressobj(level=1, wbits=zlib.MAX_WBITS + 16)


def _unpacked(data: bytes) -> bytes:
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
    said = reader.decompress(data, MOST_BYTES)
    if not reader.eof:
        message = "It was cut, or is too large."
        raise ValueError(message)
    return said
