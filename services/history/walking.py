"""Find a part of a branch without reading the whole tree."""

from dataclasses import dataclass
from typing import Final

import structlog

from services.history.branch import Window
from services.history.message_ports import MessageStore
from services.history.places import Node
from shared.contracts.ids import MessageId, SessionId, UserId

_STEP: Final = 64
"""Levels that are looked at first where branches run side by side; then twice as many each time."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Stretch:
    """A part of a branch, in order of depth."""

    nodes: list[Node]
    more: bool
    """Whether messages come before it."""
    siblings: dict[MessageId, list[MessageId]]
    """Of those that have any, as ``StoredMessage.sibling_ids``."""
    whole: bool = True
    """Whether no message is missing that others name as their parent."""


class Walking:
    """Reads a session's messages by ranges of depth.

    Where a level has one message, every branch that goes deeper goes through it: so a page in the
    middle of a long session is found without what lies between it and the end. Only where branches
    run side by side it goes on towards the end, until one of them is left or the end itself tells.
    """

    def __init__(self, store: MessageStore) -> None:
        self._store = store

    async def stretch(
        self, user_id: UserId, session_id: SessionId, end: Node, first: int, last: int
    ) -> Stretch:
        """The messages from depth ``first`` to ``last`` on the branch to ``end``.

        It begins later where a parent is missing.
        """
        found = await self._walk(user_id, session_id, end, first, last)
        if not found.whole and await self._store.repair(user_id, session_id):
            log.info("messages_of_an_older_version_placed", session_id=session_id)
            found = await self._walk(user_id, session_id, end, first, last)
        return found

    async def _walk(
        self, user_id: UserId, session_id: SessionId, end: Node, first: int, last: int
    ) -> Stretch:
        first, last = max(first, 1), min(last, end.depth)
        if first > last:
            return Stretch([], more=False, siblings={})
        window = Window()
        # One level more tells whether anything comes before.
        window.add(await self._store.nodes(user_id, session_id, max(first - 1, 1), last))
        whole = last < end.depth or end in window
        node: Node | None = await self._at_or_below(window, user_id, session_id, end, last)
        chain: list[Node] = []
        while node is not None and node.depth >= first:
            if node.depth <= last:
                chain.append(node)
            above = window.parent(node)
            whole = whole and (above is not None or node.depth == 1)
            node = above
        siblings = {it.id: window.siblings(it) for it in chain}
        return Stretch(
            chain[::-1],
            more=node is not None,
            siblings={key: ids for key, ids in siblings.items() if ids is not None},
            whole=whole,
        )

    async def _at_or_below(
        self, window: Window, user_id: UserId, session_id: SessionId, end: Node, depth: int
    ) -> Node:
        """A message of the branch to ``end``, at ``depth`` or as little deeper as can be told."""
        step, high = _STEP, depth
        found = window.bottleneck(depth, depth)
        while found is None and high < end.depth:
            low, high = high + 1, min(high + step, end.depth)
            window.add(await self._store.nodes(user_id, session_id, low, high))
            found = window.bottleneck(low, high)
            step *= 2
        return found if found is not None else end
