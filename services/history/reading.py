"""What a session holds: pages of its active branch, and where its next turn goes."""

from typing import Final

from services.history.branch import branch_to, newest_page, tip
from services.history.freshness import Freshness
from services.history.ports import SessionStore
from services.history.records import Leaf, MessageRecord, SessionRecord
from services.history.sessions import found
from shared.contracts.history import (
    GetSession,
    MessageRef,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
)
from shared.contracts.ids import MessageId

PAGE_BYTES: Final = 850_000
"""Messages of one page: with the session around them a reply stays under 900 KB."""


class Reading:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: SessionStore, freshness: Freshness) -> None:
        self._store = store
        self._freshness = freshness

    async def detail(self, query: GetSession) -> SessionDetail:
        """The session with the newest page of its active branch, or an older one.

        Raises:
            SessionNotFound: see ``found``.
        """
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        nodes = await self._store.outline(query.user_id, query.session_id)
        page, next_before_depth = newest_page(
            branch_to(nodes, tip(nodes, _leaf(session))),
            before_depth=query.before_depth,
            limit=query.limit,
            size=PAGE_BYTES,
        )
        ids = [node.id for node in page]
        records = await self._store.messages(query.user_id, query.session_id, ids)
        return SessionDetail(
            session=session.to_session(),
            messages=[record.to_message() for record in sorted(records, key=lambda it: it.depth)],
            next_before_depth=next_before_depth,
        )

    async def head(self, query: SessionHeadQuery) -> SessionHead:
        """The end of the active branch, without its text.

        Raises:
            SessionNotFound: see ``found``.
        """
        if query.after_completion is not None:
            await self._freshness.completion(query.after_completion)
        session = found(await self._store.get(query.user_id, query.session_id))
        end = await self._message(session, await self._tip(session))
        return SessionHead(
            turn=session.turn,
            leaf=end.to_ref() if end is not None else None,
            last_user=await self._last_user(session, end),
            titled=session.titled(),
        )

    async def _tip(self, session: SessionRecord) -> MessageId | None:
        leaf = _leaf(session)
        if leaf is not None and leaf.turn == session.turn:
            # The common case, no turn is running: no need to look at the whole tree.
            return leaf.message_id
        if session.turn == 0:
            return None
        end = tip(await self._store.outline(session.user_id, session.id), leaf)
        return end.id if end is not None else None

    async def _last_user(
        self, session: SessionRecord, message: MessageRecord | None
    ) -> MessageRef | None:
        while message is not None and message.role != "user":
            parent = await self._message(session, message.parent_id)
            # Every step goes up, or a ring of messages would be walked for ever.
            message = parent if parent is not None and parent.depth < message.depth else None
        return message.to_ref() if message is not None else None

    async def _message(
        self, session: SessionRecord, message_id: MessageId | None
    ) -> MessageRecord | None:
        if message_id is None:
            return None
        records = await self._store.messages(session.user_id, session.id, [message_id])
        return records[0] if records else None


def _leaf(session: SessionRecord) -> Leaf | None:
    return Leaf.parse(session.leaf) if session.leaf is not None else None
