"""Where the branch that is shown ends."""

from services.history.branch import active_end
from services.history.message_ports import MessageStore
from services.history.places import Node
from services.history.records import MessageRecord, SessionRecord
from shared.contracts.history import Session
from shared.contracts.ids import MessageId


class Ends:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, messages: MessageStore) -> None:
        self._messages = messages

    async def active(self, session: SessionRecord) -> Node | None:
        """The end of the active branch, among the visible messages; ``None`` without any."""
        leaf = session.end()
        end = await self.message(session, leaf.message_id) if leaf is not None else None
        if end is not None and leaf is not None and leaf.turn == session.turn:
            # The common case: no turn is running.
            return end.node()
        newest = None
        if session.turn > 0:
            newest = await self._messages.newest(session.user_id, session.id)
            if newest is None and await self._messages.repair(session.user_id, session.id):
                newest = await self._messages.newest(session.user_id, session.id)
        return active_end(leaf, end.node() if end is not None else None, newest)

    async def message(
        self, session: SessionRecord, message_id: MessageId | None
    ) -> MessageRecord | None:
        """One message of the session, if it is visible."""
        if message_id is None:
            return None
        records = await self._messages.messages(session.user_id, session.id, [message_id])
        return records[0] if records else None


def shown_with(session: SessionRecord, active: Node | None) -> Session:
    """The session as queries answer it, with the end that it really has."""
    shown = session.to_session()
    return shown.model_copy(update={"active_leaf": active.id if active is not None else None})
