"""A session as the bytes of a file, and whether that can be imported. Pure, and long work.

Of what history gives only the bytes are kept, page by page: thousands of objects take several times
as much, and cost every collection of garbage a pause in which nobody has a turn.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import orjson

from services.api.completions.answers import to_message_body
from services.api.parsing import IMPORTED
from services.api.schemas.archive import MOST_MESSAGES
from services.api.sessions.archive import HEADROOM, heading, message_text, to_export
from services.api.shapes import shape_of
from shared.contracts.history import Session, StoredMessage
from shared.contracts.ids import MessageId
from shared.contracts.imports import packer

_BLOCK: Final = 2**16
"""Bytes that are sent at once, and of which a client that takes nothing holds two."""
_EACH: Final = 300
"""Bytes that it takes to remember the place of a message."""
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""Of a JSON text: an engine may have said it, and nobody takes it back."""


class File(NamedTuple):
    """Its bytes, block by block: a second copy of all of them would be as large."""

    blocks: list[bytes]
    size: int
    importable: bool


class Importable(NamedTuple):
    """What an import may have at this gateway, in bytes."""

    size: int
    """As a file."""
    carried: int
    """On its way to history, in the broker's largest message."""


class Draft(Protocol):
    """A file that is being written."""

    size: int
    """Bytes that it holds."""

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """Write a page, in the order of the session's tree."""
        ...

    def file(self) -> File:
        """All of it; there is nothing to be added any more."""
        ...


class JsonDraft:
    """Every branch; indented, unless that alone would keep it from being imported again."""

    def __init__(self, session: Session, most: Importable, *, camel: bool) -> None:
        """Begin it.

        Args:
            session: What it is of.
            most: What an import may have here.
            camel: Whether names are in camelCase.
        """
        self.size = 0
        self._session = session
        self._most = most
        self._camel = camel
        self._pieces: list[bytes] = []
        self._indented = True
        self._has_leaf = False
        self._sent = _Sent(most.carried - HEADROOM)
        self._sent.add(session.to_bytes())

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """See the port."""
        for message in messages:
            self._has_leaf = self._has_leaf or message.id == self._session.active_leaf
            self._add(_said(self._text(message)))
            # What it does not keep, or counts anew.
            lost = {"completion_id": None, "sibling_ids": None, "depth": 1}
            self._sent.add(message.model_copy(update=lost).to_bytes() + b",")
        if self._indented and self.size > self._most.size:
            self._draw_together()

    def file(self) -> File:
        """See the port."""
        head, end = self._around()
        if self._indented and self.size + len(head) + len(end) > self._most.size:
            self._draw_together()
            head, end = self._around()
        count, size = len(self._pieces), self.size + len(head) + len(end)
        pieces, self._pieces = [head, *self._pieces, end], []
        blocks = _blocks(pieces)
        fits = size <= self._most.size and count <= MOST_MESSAGES and self._sent.fits()
        importable = fits and shape_of(blocks, IMPORTED).within(IMPORTED)
        return File(blocks, size, importable)

    def _text(self, message: StoredMessage) -> str:
        body = to_message_body(message)
        indent = 2 if self._indented else None
        text = body.model_dump_json(by_alias=self._camel, exclude_none=True, indent=indent)
        # There is no other line break than those between fields: in a text it is escaped.
        return "\n    " + text.replace("\n", "\n    ") if self._indented else text

    def _add(self, piece: bytes) -> None:
        self._pieces.append(b"," + piece if self._pieces else piece)
        self.size += len(self._pieces[-1])

    def _draw_together(self) -> None:
        self._indented = False
        pieces, self._pieces, self.size = self._pieces[::-1], [], 0
        while pieces:
            self._add(orjson.dumps(orjson.loads(pieces.pop().lstrip(b","))))

    def _around(self) -> tuple[bytes, bytes]:
        """The JSON of ``ExportBody``, whose last field are the messages."""
        indent = 2 if self._indented else None
        empty = to_export(self._session, has_leaf=self._has_leaf)
        text = empty.model_dump_json(by_alias=self._camel, exclude_none=True, indent=indent)
        line = b"\n  " if self._indented and self._pieces else b""
        end = line + (b"]\n}" if self._indented else b"]}")
        return _said(text[: text.rindex("[")]) + b"[", end


class MarkdownDraft:
    """The branch that is shown."""

    def __init__(self, session: Session) -> None:
        self.size = 0
        self._session = session
        self._texts: dict[MessageId, tuple[MessageId | None, bytes]] = {}

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """See the port."""
        for message in messages:
            text = message_text(message).encode()
            self._texts[message.id] = (message.parent_id, text)
            self.size += len(text) + _EACH

    def file(self) -> File:
        """See the port."""
        pieces = [heading(self._session).encode(), *self._branch()]
        self._texts.clear()
        blocks = _blocks(pieces)
        return File(blocks, sum(map(len, blocks)), importable=False)

    def _branch(self) -> list[bytes]:
        chain: list[bytes] = []
        at = self._session.active_leaf
        while at is not None and at in self._texts and len(chain) < len(self._texts):
            at, text = self._texts[at]
            chain.append(text)
        return chain[::-1] if chain else [text for _, text in self._texts.values()]


class _Sent:
    """What an import sends to history, roughly, and whether the broker carries that."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0
        self._most = 0
        self._plain: list[bytes] = []
        self._packer: "zlib._Compress | None" = None  # noqa: UP037 - it has no name at run time
        self._packed = 0

    def add(self, part: bytes) -> None:
        self._size += len(part)
        self._most = max(self._most, len(part))
        self._plain.append(part)
        if self._size > self._room:
            self._packer = self._packer or packer()
            self._packed += sum(len(self._packer.compress(plain)) for plain in self._plain)
            self._plain.clear()

    def fits(self) -> bool:
        """To be asked once."""
        if self._most > self._room:
            return False
        return self._packer is None or self._packed + len(self._packer.flush()) <= self._room


def _blocks(pieces: list[bytes]) -> list[bytes]:
    """They are taken out: nothing is held twice."""
    blocks: list[bytes] = []
    held: list[bytes] = []
    size = 0
    pieces.reverse()
    while pieces:
        held.append(pieces.pop())
        size += len(held[-1])
        if size >= _BLOCK:
            whole = b"".join(held)
            blocks += [whole[at : at + _BLOCK] for at in range(0, len(whole), _BLOCK)]
            held, size = [], 0
    return [*blocks, b"".join(held)]


def _said(text: str) -> bytes:
    data = text.encode()
    return _NUL.sub(rb"\1\\ufffd", data) if b"\\u0000" in data else data
