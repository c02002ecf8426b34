"""All messages of a session, of all branches, page by page."""

from collections.abc import Collection, Sequence
from typing import Final

from services.history.branch import Siblings, Window, oldest_of
from services.history.cursor import parse_place, to_place
from services.history.ends import Ends, shown_with
from services.history.freshness import Freshness
from services.history.message_ports import MessageStore
from services.history.places import Node
from services.history.ports import SessionStore
from services.history.reading import PAGE_BYTES
from services.history.sessions import found
from shared.contracts.history import MessageTree, ReadTree, StoredMessage
from shared.contracts.ids import MessageId

_MOST: Final = 200
"""Messages of one page."""


class TreeReading:
    """Raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: SessionStore, messages: MessageStore, freshness: Freshness) -> None:
        self._store = store
        self._messages = messages
        self._freshness = freshness
        self._ends = Ends(messages)

    async def page(self, query: ReadTree) -> MessageTree:
        """The messages after the cursor, by depth and then id.

        The session of the first page names the leaf that is shown; other pages name what is stored.

        Raises:
            SessionNotFound: see ``found``.
            InvalidRequest: the cursor is malformed.
        """
        after = parse_place(query.cursor) if query.cursor is not None else None
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        shown = session.to_session()
        if after is None:
            if not session.placed:
                await self._messages.repair(query.user_id, query.session_id)
            shown = shown_with(session, await self._ends.active(session))
        # Places first: texts are read when it is known how many of them fit into a reply. One more
        # than a page holds tells whether there is a next one.
        nodes = await self._messages.tree(query.user_id, query.session_id, after, _MOST + 1)
        page = oldest_of(nodes, {}, limit=_MOST, size=PAGE_BYTES)
        siblings = await self._siblings(query, page, _parted(page, after, nodes[len(page) :]))
        page = oldest_of(page, siblings, limit=_MOST, size=PAGE_BYTES)
        rest = nodes[len(page) :]
        return MessageTree(
            session=shown,
            messages=await self._texts(query, page, siblings),
            next_cursor=to_place(page[-1].depth, page[-1].id) if rest else None,
        )

    async def _siblings(
        self, query: ReadTree, page: list[Node], parted: Collection[int]
    ) -> dict[MessageId, list[MessageId]]:
        window = Window()
        window.add(it for it in page if it.depth not in parted)
        for depth in parted:
            window.add(await self._messages.nodes(query.user_id, query.session_id, depth, depth))
        siblings = ((node.id, window.siblings(node)) for node in page)
        return {key: ids for key, ids in siblings if ids is not None}

    async def _texts(
        self, query: ReadTree, page: list[Node], siblings: Siblings
    ) -> list[StoredMessage]:
        if not page:
            return []
        first, last = page[0], page[-1]
        records = await self._messages.stretch(
            query.user_id, query.session_id, (first.depth, first.id), (last.depth, last.id)
        )
        # What has been stored since the places were read may be too much: other readers see it.
        known = {node.id for node in page}
        return [it.to_message(siblings.get(it.id)) for it in records if it.id in known]


def _parted(
    page: Sequence[Node], after: tuple[int, MessageId] | None, rest: Sequence[Node]
) -> set[int]:
    """The levels that begin before this page or go on behind it."""
    parted = set()
    if page and after is not None and after[0] == page[0].depth:
        parted.add(after[0])
    if page and rest and rest[0].depth == page[-1].depth:
        parted.add(page[-1].depth)
    return parted
