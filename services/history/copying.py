"""New sessions that begin with messages: of a branch of another session, or of an export."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from services.history.copy_making import CopyMaking
from services.history.freshness import Freshness
from services.history.importing import import_messages
from services.history.message_ports import CopyStore, MessageStore
from services.history.news import News
from services.history.ongoing import Ongoing
from services.history.places import Leaf
from services.history.ports import SessionStore, TurnStore
from services.history.records import SETTINGS, MessageRecord, SessionRecord, to_milliseconds
from services.history.sessions import found
from services.history.walking import Walking
from shared.contracts.history import (
    TITLE_LENGTH,
    ForkSession,
    SessionReply,
)
from shared.contracts.ids import (
    SessionId,
    UserId,
    copied_message_id,
    new_session_id,
    next_session_id,
)
from shared.contracts.imports import ImportSession
from shared.errors import MessageNotFound

_FORKED: Final = " (fork)"
_AT_ONCE: Final = 2
"""Copies that are made at once: each keeps the database busy."""
_MOST: Final = 10
"""Copies that are made and wait together: an import is held in memory meanwhile."""
_REPEATED: Final = timedelta(minutes=10)
"""The same copy within it is asked for again; after it, it is made once more."""
_MOST_ALIKE: Final = 100
_BATCH: Final = 100
"""Messages in one write: a larger one would hold up other users of the embedded server."""


class Copying:
    """Asked again with the same new id, both give the session that is there, or finish it.

    Until all of it is stored the new session exists for nobody. A long one takes longer than one
    who asks may wait: the work goes on, and who asks again joins it.
    """

    def __init__(
        self,
        sessions: SessionStore,
        copies: CopyStore,
        messages: MessageStore,
        turns: TurnStore,
        freshness: Freshness,
        news: News,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._copies = copies
        self._messages = messages
        self._freshness = freshness
        self._making = CopyMaking(copies, turns, news)
        self._walking = Walking(messages)
        self._now = now
        self._ongoing: Ongoing[SessionReply] = Ongoing(at_once=_AT_ONCE, most=_MOST)

    async def fork(self, command: ForkSession) -> SessionReply:
        """A session with copies of the branch that ends at a message, and the same settings.

        Raises:
            SessionNotFound: see ``found``; also if another user has a session of the new id.
            MessageNotFound: the session has no such visible message.
            HistoryUnavailable: the database is away, or has not done in time: ask again.
            UserLeaving: everything of the user is being removed.
        """
        asked_at = to_milliseconds(self._now())
        session = found(await self._sessions.get(command.user_id, command.session_id))
        end = await self._message(command)
        session_id = await self._own_id(command.user_id, command.new_session_id)
        now = to_milliseconds(self._now())
        copy = copied_message_id(session_id, end.id)
        forked = SessionRecord(
            **session.settings(),
            id=session_id,
            user_id=command.user_id,
            title=session.shown_title()[: TITLE_LENGTH - len(_FORKED)] + _FORKED,
            preset_id=session.preset_id,
            created_at=now,
            updated_at=now,
            formed_at=now,
            placed=True,
            turn=end.turn,
            message_count=end.depth,
            leaf=str(Leaf(end.turn, end.role == "assistant", copy)),
        )
        return await self._ongoing.do(
            (forked.user_id, forked.id),
            partial(self._making.make, forked, self._branch(forked, end), asked_at),
        )

    async def import_session(self, command: ImportSession) -> SessionReply:
        """A session with all messages of an export.

        Raises:
            InvalidRequest: the messages are no tree, or too many; says where.
            SessionNotFound: the new id is another user's, or was deleted.
            HistoryUnavailable: the database is away, or has not done in time: ask again.
            UserLeaving: everything of the user is being removed.
        """
        asked_at = to_milliseconds(self._now())
        return await self._ongoing.do(
            (command.user_id, command.session_id), partial(self._import, command, asked_at)
        )

    async def stop(self) -> None:
        """Cut off copies that are still being made; asked for again, they go on."""
        await self._ongoing.stop()

    async def _import(self, command: ImportSession, asked_at: int) -> SessionReply:
        session_id = await self._own_id(command.user_id, command.session_id)
        # In a thread: many messages take as long as other users would wait.
        imported = await asyncio.to_thread(
            import_messages, command.messages, command.active_leaf, command.user_id, session_id
        )
        now = to_milliseconds(self._now())
        session = SessionRecord(
            **command.model_dump(include=set(SETTINGS)),
            id=session_id,
            user_id=command.user_id,
            title=command.title,
            preset_id=command.preset_id,
            created_at=to_milliseconds(command.created_at) if command.created_at else now,
            updated_at=now,
            formed_at=now,
            placed=True,
            turn=imported.turn,
            message_count=imported.depth,
            leaf=str(imported.leaf) if imported.leaf is not None else None,
        )
        return await self._making.make(session, _batches(imported.messages), asked_at)

    async def _own_id(self, user_id: UserId, wanted: SessionId) -> SessionId:
        """The id of the copy that this one repeats, else one that is free."""
        since = to_milliseconds(self._now() - _REPEATED)
        for number in range(_MOST_ALIKE):
            session_id = next_session_id(wanted, number) if number else wanted
            there = await self._copies.find(user_id, session_id)
            if there is None or _is_repeated(there, since):
                return session_id
        return new_session_id()

    async def _branch(
        self, forked: SessionRecord, end: MessageRecord
    ) -> AsyncIterator[Sequence[MessageRecord]]:
        node, last = end.node(), end.depth
        while last > 0:
            stretch = await self._walking.stretch(
                end.user_id, end.session_id, node, last - _BATCH + 1, last
            )
            ids = [it.id for it in stretch.nodes]
            records = await self._messages.messages(end.user_id, end.session_id, ids)
            yield [_copy(record, forked) for record in records]
            if not stretch.more:
                return
            node = stretch.nodes[0]
            last = node.depth - 1

    async def _message(self, command: ForkSession) -> MessageRecord:
        for look in (True, False):
            found_messages = await self._messages.messages(
                command.user_id, command.session_id, [command.message_id]
            )
            if found_messages:
                return found_messages[0]
            if look:
                # It may be the end that the asker has just seen.
                await self._freshness.everything()
        raise MessageNotFound("This message does not exist.", param="message_id")


def _copy(message: MessageRecord, session: SessionRecord) -> MessageRecord:
    parent = message.parent_id
    return message.model_copy(
        update={
            "id": copied_message_id(session.id, message.id),
            "parent_id": copied_message_id(session.id, parent) if parent is not None else None,
            "session_id": session.id,
        }
    )


def _is_repeated(there: SessionRecord, since: int) -> bool:
    if there.purging:
        return False
    if there.forming:
        return True
    return there.deleted_at is None and (there.formed_at or 0) >= since


async def _batches(messages: Sequence[MessageRecord]) -> AsyncIterator[Sequence[MessageRecord]]:
    for at in range(0, len(messages), _BATCH):
        yield messages[at : at + _BATCH]
