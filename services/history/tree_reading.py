"""All messages of a session, of all branches, page by page."""

from typing import Final

from services.history.branch import Window, oldest_of
from services.history.cursor import parse_place, to_place
from services.history.freshness import Freshness
from services.history.message_ports import MessageStore
from services.history.ports import SessionStore
from services.history.reading import PAGE_BYTES
from services.history.records import MessageRecord
from services.history.sessions import found
from shared.contracts.history import MessageTree, ReadTree, StoredMessage

_MOST: Final = 500
"""Messages of one page."""


class TreeReading:
    """Raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: SessionStore, messages: MessageStore, freshness: Freshness) -> None:
        self._store = store
        self._messages = messages
        self._freshness = freshness

    async def page(self, query: ReadTree) -> MessageTree:
        """The messages after the cursor, by depth and then id.

        Raises:
            SessionNotFound: see ``found``.
            InvalidRequest: the cursor is malformed.
        """
        after = parse_place(query.cursor) if query.cursor is not None else None
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        if after is None:
            await self._messages.repair(query.user_id, query.session_id)
        # One more than a page holds tells whether there is a next one.
        records = await self._messages.tree(query.user_id, query.session_id, after, _MOST + 1)
        nodes = oldest_of([it.node() for it in records], limit=_MOST, size=PAGE_BYTES)
        page = records[: len(nodes)]
        more = len(page) < len(records)
        return MessageTree(
            session=session.to_session(),
            messages=await self._with_siblings(query, page),
            next_cursor=to_place(page[-1].depth, page[-1].id) if more else None,
        )

    async def _with_siblings(
        self, query: ReadTree, page: list[MessageRecord]
    ) -> list[StoredMessage]:
        if not page:
            return []
        window = Window()
        # Its first and its last level may go on in other pages.
        window.add(
            await self._messages.nodes(
                query.user_id, query.session_id, page[0].depth, page[-1].depth
            )
        )
        return [it.to_message(window.siblings(it.node())) for it in page]
