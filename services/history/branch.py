"""The active branch of a session's tree of messages, and how it is cut into pages. Pure."""

from collections.abc import Sequence
from typing import Final

from services.history.records import Leaf, Node
from shared.contracts.ids import MessageId

_AROUND: Final = 512
"""Bytes of ids, times and usage around a message's text."""


def tip(nodes: Sequence[Node], leaf: Leaf | None) -> Node | None:
    """The end of the active branch: the latest turn's deepest message.

    A turn later than ``leaf`` is still running: its question is shown already. A leaf that is not
    among the visible messages gives way to the latest one that is.
    """
    running = [node for node in nodes if leaf is None or node.turn > leaf.turn]
    if running:
        return max(running, key=lambda node: (node.turn, node.depth, node.id))
    ends = [node for node in nodes if leaf is not None and node.id == leaf.message_id]
    if ends:
        return ends[0]
    return max(nodes, key=lambda node: (node.turn, node.depth, node.id), default=None)


def branch_to(nodes: Sequence[Node], end: Node | None) -> list[Node]:
    """The messages from the first one to ``end``, in order of depth."""
    by_id = {node.id: node for node in nodes}
    chain: list[Node] = []
    seen: set[MessageId] = set()
    while end is not None and end.id not in seen:
        seen.add(end.id)
        chain.append(end)
        end = by_id.get(end.parent_id) if end.parent_id is not None else None
    return chain[::-1]


def newest_page(
    branch: Sequence[Node], *, before_depth: int | None, limit: int, size: int
) -> tuple[list[Node], int | None]:
    """The last messages before ``before_depth``, in order, and where the page before them ends.

    A page holds at most ``limit`` messages and about ``size`` bytes, but always one message.
    """
    rest = [node for node in branch if before_depth is None or node.depth < before_depth]
    page: list[Node] = []
    taken = 0
    while rest and len(page) < limit and (not page or taken + _weight(rest[-1]) <= size):
        node = rest.pop()
        taken += _weight(node)
        page.append(node)
    return page[::-1], page[-1].depth if rest else None


def _weight(node: Node) -> int:
    return node.size + _AROUND
