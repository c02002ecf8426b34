"""JSON that stays on one line wherever it is read, as an event of a stream must."""

from typing import Final

import orjson

_SEPARATORS: Final = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
"""NEL and the line and paragraph separators: the standard of server-sent events lets them stand,
but ``str.splitlines``, and with it ``httpx.Response.iter_lines``, ends a line there."""


def event_json(value: object) -> bytes:
    """``value`` as JSON without anything that a reader may take for the end of a line."""
    data = orjson.dumps(value)
    if not data.isascii():
        for raw, escaped in _SEPARATORS:
            data = data.replace(raw, escaped)
    return data
