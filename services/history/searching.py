"""Which of a user's sessions hold all words of a search, newest first."""

from collections.abc import Sequence
from typing import Final

from services.history.message_ports import TermStore
from services.history.ports import SessionStore
from services.history.records import SessionRecord
from services.history.words import words_of
from shared.contracts.ids import SessionId, UserId

FEW: Final = 200
"""Sessions that are looked through one by one; a word in more of them is common."""
_LARGEST: Final = 800
"""Sessions that are looked at in one go."""

Before = tuple[int, SessionId] | None


class Searching:
    """Starts from a word that few sessions have; where there is none, from the newest sessions."""

    def __init__(self, store: SessionStore, terms: TermStore, *, few: int = FEW) -> None:
        self._store = store
        self._terms = terms
        self._few = few

    async def page(
        self, user_id: UserId, words: Sequence[str], limit: int, before: Before, *, deleted: bool
    ) -> list[SessionRecord]:
        """As ``SessionStore.page``, only those with every word in their title or messages."""
        for word in words:
            having = await self._terms.sessions_with(user_id, word, self._few)
            if len(having) < self._few:
                some = await self._store.some(user_id, list(having), deleted=deleted)
                rest = [it for it in some if before is None or (it.updated_at, it.id) < before]
                rest.sort(key=lambda it: (it.updated_at, it.id), reverse=True)
                return (await self._with_all(user_id, words, rest))[:limit]
        return await self._from_the_newest(user_id, words, limit, before, deleted=deleted)

    async def _from_the_newest(
        self, user_id: UserId, words: Sequence[str], limit: int, before: Before, *, deleted: bool
    ) -> list[SessionRecord]:
        result: list[SessionRecord] = []
        # A common word stands in most of the newest ones; where it does not, take longer strides.
        count = 2 * limit
        while len(result) < limit:
            batch = await self._store.page(user_id, count, before, deleted=deleted)
            result += await self._with_all(user_id, words, batch)
            if len(batch) < count:
                break
            before = (batch[-1].updated_at, batch[-1].id)
            count = min(2 * count, max(_LARGEST, limit))
        return result[:limit]

    async def _with_all(
        self, user_id: UserId, words: Sequence[str], sessions: Sequence[SessionRecord]
    ) -> list[SessionRecord]:
        ids = [session.id for session in sessions]
        said = await self._terms.among(user_id, words, ids)
        return [
            session
            for session in sessions
            # A word that no message says may stand in a title of yesterday.
            if all(said.get((word, session.id)) or _titled(session, word) for word in words)
        ]


def _titled(session: SessionRecord, word: str) -> bool:
    return word in words_of(session.shown_title())
