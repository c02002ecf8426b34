"""A session as the bytes of a file, and whether that can be imported. Pure, and long work."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from services.api.completions.answers import to_message_body
from services.api.parsing import IMPORTED_CONTAINERS, too_many_brackets
from services.api.schemas.archive import MOST_MESSAGES
from services.api.sessions.archive import HEADROOM, to_export, to_markdown
from shared.contracts.history import Session, StoredMessage
from shared.contracts.imports import packed

_BLOCK: Final = 2**18
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


def json_file(
    session: Session, messages: Sequence[StoredMessage], most: Importable, *, camel: bool
) -> File:
    """Every branch; indented, unless that alone would keep it from being imported again."""
    readable = _file(_pieces(session, messages, camel=camel, indent=2))
    if readable.size > most.size:
        readable = _file(_pieces(session, messages, camel=camel, indent=None))
    fits = readable.size <= most.size and not too_many_brackets(readable.blocks)
    fits = fits and _fits(session, messages, most.carried)
    return readable._replace(importable=fits)


def markdown_file(session: Session, messages: Sequence[StoredMessage]) -> File:
    """The branch that is shown."""
    return _file(iter([to_markdown(session, messages).encode()]))


def _file(pieces: Iterator[bytes]) -> File:
    blocks: list[bytes] = []
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK * (len(blocks) + 1):
            blocks.append(b"".join(held))
            held = []
    blocks.append(b"".join(held))
    return File(blocks, size, importable=False)


def _pieces(
    session: Session, messages: Sequence[StoredMessage], *, camel: bool, indent: int | None
) -> Iterator[bytes]:
    """The JSON of ``ExportBody``, whose last field are the messages, each for itself."""
    empty = to_export(session, messages)
    text = empty.model_dump_json(by_alias=camel, exclude_none=True, indent=indent)
    head, line = text[: text.rindex("[")], "\n    " if indent else ""
    yield _said(head) + b"["
    for number, message in enumerate(messages):
        body = to_message_body(message)
        one = body.model_dump_json(by_alias=camel, exclude_none=True, indent=indent)
        # There is no other line break than those between fields: in a text it is escaped.
        yield (b"," if number else b"") + _said(line + one.replace("\n", line))
    yield (b"\n  ]\n}" if indent else b"]}") if messages else b"]\n}" if indent else b"]}"


def _said(text: str) -> bytes:
    data = text.encode()
    return _NUL.sub(rb"\1\\ufffd", data) if b"\\u0000" in data else data


def _fits(session: Session, messages: Sequence[StoredMessage], carried: int) -> bool:
    if len(messages) > MOST_MESSAGES:
        return False
    held = 3 + len(session.tools or ()) + sum(map(_containers, messages))
    if held > IMPORTED_CONTAINERS:
        return False
    room = carried - HEADROOM
    sizes = [len(part) for part in _sent(session, messages)]
    if max(sizes) > room:
        return False
    return sum(sizes) <= room or len(packed(_sent(session, messages))) <= room


def _sent(session: Session, messages: Sequence[StoredMessage]) -> Iterator[bytes]:
    """What an import sends to history, roughly."""
    yield session.to_bytes()
    # What it does not keep, or counts anew.
    lost = {"completion_id": None, "sibling_ids": None, "depth": 1}
    for message in messages:
        yield message.model_copy(update=lost).to_bytes() + b","


def _containers(message: StoredMessage) -> int:
    """Lists and objects of it in a file."""
    each = (message.sibling_ids, message.continued_at, message.usage)
    held = 1 + sum(it is not None for it in each)
    if isinstance(message.content, list):
        held += 1 + sum(1 if part.type == "text" else 2 for part in message.content)
    return held + (1 + 2 * len(message.tool_calls) if message.tool_calls else 0)
