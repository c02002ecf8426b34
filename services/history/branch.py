"""A branch of a session's tree of messages, and how it is cut into pages. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from services.history.places import Leaf, Node
from shared.contracts.ids import MessageId

_AROUND: Final = 512
"""Bytes of ids, times and usage around a message's text."""
_ID: Final = 40
"""Bytes of each sibling that a message names."""


Siblings = Mapping[MessageId, list[MessageId]]
"""Of those messages that have any, as ``StoredMessage.sibling_ids``."""


class Window:
    """All messages of some depths that follow each other, of all branches."""

    def __init__(self) -> None:
        self._by_id: dict[MessageId, Node] = {}
        self._levels: dict[int, list[Node]] = defaultdict(list)

    def add(self, nodes: Iterable[Node]) -> None:
        """Nodes of depths that are not in it yet."""
        for node in nodes:
            self._by_id[node.id] = node
            self._levels[node.depth].append(node)

    def __contains__(self, node: Node) -> bool:
        return node.id in self._by_id

    def bottleneck(self, first: int, last: int) -> Node | None:
        """The one message that every branch to below these depths goes through, if there is one.

        The least deep of them.
        """
        for depth in range(first, last + 1):
            if len(self._levels.get(depth, ())) == 1:
                return self._levels[depth][0]
        return None

    def parent(self, node: Node) -> Node | None:
        """The message before it; ``None`` for the first one, and where the parent is missing."""
        found = self._by_id.get(node.parent_id) if node.parent_id is not None else None
        # Every step goes up, or a ring of messages would be walked for ever.
        return found if found is not None and found.depth == node.depth - 1 else None

    def siblings(self, node: Node) -> list[MessageId] | None:
        """All with the same parent, this one too, the oldest first; ``None`` if it is alone."""
        same = [it for it in self._levels[node.depth] if it.parent_id == node.parent_id]
        return [it.id for it in in_order(same)] if len(same) > 1 else None


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """As they came, the oldest first."""
    return sorted(nodes, key=lambda it: (it.turn, it.depth, it.id))


def active_end(leaf: Leaf | None, end: Node | None, newest: Node | None) -> Node | None:
    """The end of the active branch: the latest turn's deepest message.

    A turn later than ``leaf`` is still running: its question is shown already. A leaf that is not
    among the visible messages (``end`` is ``None``) gives way to the newest one that is.
    """
    if newest is not None and (leaf is None or newest.turn > leaf.turn):
        return newest
    return end if end is not None else newest


def newest_of(branch: Sequence[Node], siblings: Siblings, *, limit: int, size: int) -> list[Node]:
    """The last messages, in order: at most ``limit``, about ``size`` bytes, but always one."""
    return oldest_of(branch[::-1], siblings, limit=limit, size=size)[::-1]


def oldest_of(branch: Sequence[Node], siblings: Siblings, *, limit: int, size: int) -> list[Node]:
    """The first messages, in order: at most ``limit``, about ``size`` bytes, but always one."""
    taken = 0
    for count, node in enumerate(branch):
        taken += node.size + _AROUND + _ID * len(siblings.get(node.id, ()))
        if count == limit or (count and taken > size):
            return list(branch[:count])
    return list(branch)
