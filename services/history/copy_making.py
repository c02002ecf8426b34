"""One copy comes into being: unseen until all of its messages are stored.

Its user may be removed meanwhile, by another process too, and that may have passed when this one
goes on. So after each write the mark of it is looked for: either the removal sees what was written,
or its mark is seen here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from services.history.message_ports import CopyStore
from services.history.news import News
from services.history.ports import TurnStore
from services.history.records import MessageRecord, SessionRecord
from services.history.sessions import found
from services.history.words import said_words, words_of
from shared.contracts.history import SessionReply
from shared.errors import UserLeaving

_MOST_WORDS: Final = 10_000
"""Different words that a copy is found by: its first ones."""


class CopyMaking:
    """Again with the same session it goes on, or gives the one that is there."""

    def __init__(self, copies: CopyStore, turns: TurnStore, news: News) -> None:
        self._copies = copies
        self._turns = turns
        self._news = news

    async def make(
        self,
        session: SessionRecord,
        batches: AsyncIterator[Sequence[MessageRecord]],
        asked_at: int,
    ) -> SessionReply:
        """Make it, or finish it, or give what is there.

        Args:
            session: As it is to be shown.
            batches: Its messages.
            asked_at: When it was asked for, in milliseconds.

        Raises:
            SessionNotFound: its id is another user's, or was deleted.
            UserLeaving: everything of the user goes, or went after it was asked for.
            HistoryUnavailable: the database is away.
        """
        await self._must_stay(session, asked_at)
        there = found(await self._copies.form(session))
        if not there.forming:
            return SessionReply(session=there.to_session(), unchanged=True)
        await self._must_stay(session, asked_at)
        user_id, session_id = session.user_id, session.id
        await self._turns.add_terms(user_id, session_id, words_of(session.title or ""), said=False)
        known: set[str] = set()
        async for batch in batches:
            await self._turns.add_messages(batch)
            words = await asyncio.to_thread(_words, batch)
            new = [word for word in words if word not in known][: _MOST_WORDS - len(known)]
            await self._turns.add_terms(user_id, session_id, new, said=True)
            known.update(new)
            await self._must_stay(session, asked_at)
        shown = await self._copies.show(session)
        if shown is None:
            # Purged for being half made too long: nothing may stay of what was added since.
            await self._turns.forget(user_id, session_id)
        made = found(shown).to_session()
        # Also where nobody waits for it any more.
        await self._news.created(user_id, made)
        return SessionReply(session=made)

    async def _must_stay(self, session: SessionRecord, asked_at: int) -> None:
        """Go on with the copy, unless all of its user's that was asked for then is to go.

        Raises:
            UserLeaving: so it is, and nothing of the copy is left.
        """
        mark = await self._turns.purge_of(session.user_id)
        if mark is None or not mark.covers(asked_at):
            return
        await self._copies.abandon(session.user_id, session.id)
        if await self._copies.find(session.user_id, session.id) is None:
            await self._turns.forget(session.user_id, session.id)
        raise UserLeaving("Everything of this user is being removed.")


def _words(messages: Sequence[MessageRecord]) -> list[str]:
    return list(dict.fromkeys(word for it in messages for word in said_words(it.role, it.content)))
