"""What a session holds: pages of a branch, and where its next turn goes."""

from typing import Final

from services.history.branch import in_order, newest_of, oldest_of
from services.history.ends import Ends, shown_with
from services.history.freshness import Freshness
from services.history.message_ports import MessageStore
from services.history.places import Node
from services.history.ports import SessionStore
from services.history.records import MessageRecord, SessionRecord
from services.history.sessions import found
from services.history.walking import Stretch, Walking
from shared.contracts.history import (
    GetSession,
    MessageRef,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    StoredMessage,
)
from shared.contracts.ids import MessageId
from shared.errors import MessageNotFound

PAGE_BYTES: Final = 850_000
"""Messages of one page: with the session around them a reply stays under 900 KB."""


class Reading:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: SessionStore, messages: MessageStore, freshness: Freshness) -> None:
        self._store = store
        self._messages = messages
        self._freshness = freshness
        self._walking = Walking(messages)
        self._ends = Ends(messages)

    async def detail(self, query: GetSession) -> SessionDetail:
        """The session with a page of its active branch, or of the one that ends at ``leaf``.

        The newest page, or the one before or after a depth.

        Raises:
            SessionNotFound: see ``found``.
            MessageNotFound: ``leaf`` is no visible message of this session.
        """
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        active = await self._ends.active(session)
        shown = shown_with(session, active)
        end = active if query.leaf is None else await self._named(session, query.leaf)
        if end is None:
            return SessionDetail(session=shown)
        following = await self._following(session, end) if query.following else None
        stretch = await self._stretch(query, end)
        page = _page(query, stretch)
        if not page:
            return SessionDetail(session=shown, following=following)
        return SessionDetail(
            session=shown,
            following=following,
            messages=await self._texts(session, page, stretch),
            next_before_depth=page[0].depth
            if stretch.more or page[0] != stretch.nodes[0]
            else None,
            next_after_depth=page[-1].depth if page[-1].depth < end.depth else None,
        )

    async def head(self, query: SessionHeadQuery) -> SessionHead:
        """The end of the active branch, without its text.

        Raises:
            SessionNotFound: see ``found``.
        """
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        active = await self._ends.active(session)
        end = await self._ends.message(session, active.id) if active is not None else None
        return SessionHead(
            turn=session.turn,
            leaf=end.to_ref() if end is not None else None,
            last_user=await self._last_user(session, end),
            titled=session.titled(),
        )

    async def _stretch(self, query: GetSession, end: Node) -> Stretch:
        last = end.depth if query.before_depth is None else query.before_depth - 1
        last = min(last, end.depth)
        if query.after_depth is None:
            first = last - query.limit + 1
        else:
            first = max(query.after_depth, 0) + 1
            last = min(last, first + query.limit - 1)
        return await self._walking.stretch(query.user_id, query.session_id, end, first, last)

    async def _following(self, session: SessionRecord, end: Node) -> list[MessageId]:
        below = end.depth + 1
        nodes = await self._messages.nodes(session.user_id, session.id, below, below)
        return [node.id for node in in_order(nodes) if node.parent_id == end.id]

    async def _texts(
        self, session: SessionRecord, page: list[Node], stretch: Stretch
    ) -> list[StoredMessage]:
        ids = [node.id for node in page]
        records = await self._messages.messages(session.user_id, session.id, ids)
        return [
            record.to_message(stretch.siblings.get(record.id))
            for record in sorted(records, key=lambda it: it.depth)
        ]

    async def _named(self, session: SessionRecord, message_id: MessageId) -> Node:
        message = await self._ends.message(session, message_id)
        if message is None:
            raise MessageNotFound("This message does not exist.", param="leaf")
        return message.node()

    async def _last_user(
        self, session: SessionRecord, message: MessageRecord | None
    ) -> MessageRef | None:
        while message is not None and message.role != "user":
            parent = await self._ends.message(session, message.parent_id)
            # Every step goes up, or a ring of messages would be walked for ever.
            message = parent if parent is not None and parent.depth < message.depth else None
        return message.to_ref() if message is not None else None


def _page(query: GetSession, stretch: Stretch) -> list[Node]:
    cut = newest_of if query.after_depth is None else oldest_of
    return cut(stretch.nodes, stretch.siblings, limit=query.limit, size=PAGE_BYTES)
