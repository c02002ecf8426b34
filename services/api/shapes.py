"""How many pieces a JSON text is in, counted before anything of it is made: pure.

A parser makes an object of each, and lets nobody else have a turn until it has made them all, in a
thread too. This counts slice by slice, and others have theirs in between.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

_SLICE: Final = 2**16


class Shape(NamedTuple):
    """Of a text that is JSON, these are exact; of another one, they say nothing."""

    containers: int = 0
    """Lists and objects."""
    items: int = 0
    """What stands in them, and the names of what stands in objects."""

    def within(self, most: "Shape") -> bool:
        """Whether it has no more than ``most`` of either."""
        return self.containers <= most.containers and self.items <= most.items


def may_exceed(body: bytes, most: Shape) -> bool:
    """Whether ``body`` is worth counting: signs inside its texts are among these."""
    containers = body.count(b"[") + body.count(b"{")
    return containers > most.containers or _items(body, containers) > most.items


def shape_of(blocks: Sequence[bytes], most: Shape) -> Shape:
    """The shape of a text in ``blocks``; who has more than ``most`` is not counted to the end."""
    seen = Shape()
    in_text, rest = False, b""
    for block in blocks:
        for start in range(0, len(block), _SLICE):
            plain, in_text, rest = _outside(rest + block[start : start + _SLICE], in_text=in_text)
            containers = plain.count(b"[") + plain.count(b"{")
            items = _items(plain, containers)
            seen = Shape(seen.containers + containers, seen.items + items)
            if not seen.within(most):
                return seen
    return seen


def _items(plain: bytes, containers: int) -> int:
    return containers + plain.count(b",") + plain.count(b":")


def _outside(data: bytes, *, in_text: bool) -> tuple[bytes, bool, bytes]:
    """What of ``data`` is outside of texts, whether its end is inside one, and half an escape."""
    half = (len(data) - len(data.rstrip(b"\\"))) % 2
    data, rest = (data[:-1], data[-1:]) if half else (data, b"")
    # Without escapes, a quotation mark begins or ends a text.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = bare.split(b'"')
    return b"".join(parts[int(in_text) :: 2]), in_text != (len(parts) % 2 == 0), rest
