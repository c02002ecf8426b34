"""Which of a user's sessions hold all words of a search, newest first."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.history.message_ports import TermStore
from services.history.ports import SessionStore
from services.history.records import SessionRecord
from services.history.words import Asked, is_in
from shared.contracts.ids import SessionId, UserId

FEW: Final = 200
"""Sessions that are looked through one by one; a word in more of them is common."""
_BEGUN: Final = (1, 3, 4)
"""Words that are asked for in one go, for a common beginning: the first is mostly said."""
MOST_BEGUN: Final = sum(_BEGUN)
"""Words that a common beginning stands for: those that come first in the order of letters."""
_STRIDE: Final = 25
"""Words that are looked at in one go, for those that begin alike."""
_LARGEST: Final = 800
"""Sessions that are looked at in one go."""

Before = tuple[int, SessionId] | None


@dataclass
class _Sought:
    """What a word of the search stands for."""

    asked: Asked
    words: list[str]
    """Any of these; of a common beginning those that have been read so far."""
    having: Mapping[SessionId, bool] | None = None
    """All sessions that have it, and whether a message says it, if they are few."""


class Searching:
    """Starts from a word that few sessions have; where there is none, from the newest sessions."""

    def __init__(self, store: SessionStore, terms: TermStore, *, few: int = FEW) -> None:
        self._store = store
        self._terms = terms
        self._few = few

    async def page(
        self, user_id: UserId, words: Sequence[Asked], limit: int, before: Before, *, deleted: bool
    ) -> list[SessionRecord]:
        """As ``SessionStore.page``, only those with every word in their title or messages."""
        sought: list[_Sought] = []
        rare: Mapping[SessionId, bool] | None = None
        for word in words:
            if rare is not None and not word.begun:
                # Where to start from is known.
                sought.append(_Sought(word, [word.word]))
                continue
            sought.append(await self._sought(user_id, word))
            rare = sought[-1].having if rare is None else rare
        if rare is None:
            return await self._from_the_newest(user_id, sought, limit, before, deleted=deleted)
        some = await self._store.some(user_id, list(rare), deleted=deleted)
        rest = [it for it in some if before is None or (it.updated_at, it.id) < before]
        rest.sort(key=lambda it: (it.updated_at, it.id), reverse=True)
        return (await self._with_all(user_id, sought, rest))[:limit]

    async def _sought(self, user_id: UserId, asked: Asked) -> _Sought:
        # Fewer of a beginning: each stands for a word too, and several for one session.
        few = (self._few + 1) // 2 if asked.begun else self._few
        word, begun = asked
        if await self._terms.at_least(user_id, word, few, begun=begun):
            words = await self._terms.beginning(user_id, word, _STRIDE) if begun else []
            return _Sought(asked, list(dict.fromkeys(it.word for it in words)) or [word])
        if not begun:
            having = await self._terms.sessions_with(user_id, word, few)
            # It may have become common in between.
            return _Sought(asked, [word], having if len(having) < few else None)
        found = await self._terms.beginning(user_id, word, few)
        if len(found) < few:
            sessions: dict[SessionId, bool] = {}
            for _, session_id, said in found:
                sessions[session_id] = sessions.get(session_id, False) or said
            return _Sought(asked, [], sessions)
        return _Sought(asked, list(dict.fromkeys(it.word for it in found)))

    async def _from_the_newest(
        self,
        user_id: UserId,
        sought: Sequence[_Sought],
        limit: int,
        before: Before,
        *,
        deleted: bool,
    ) -> list[SessionRecord]:
        result: list[SessionRecord] = []
        # A common word stands in most of the newest ones. Where it does not, take strides as long
        # as what has been seen lets one expect to need.
        count, seen = limit + limit // 8, 0
        while len(result) < limit:
            batch = await self._store.page(user_id, count, before, deleted=deleted)
            result += await self._with_all(user_id, sought, batch)
            if len(batch) < count:
                break
            before = (batch[-1].updated_at, batch[-1].id)
            seen += count
            expected = (limit - len(result)) * seen // len(result) if result else seen
            count = min(max(expected * 9 // 8, limit), max(_LARGEST, limit))
        return result[:limit]

    async def _with_all(
        self, user_id: UserId, sought: Sequence[_Sought], sessions: Sequence[SessionRecord]
    ) -> list[SessionRecord]:
        left = list(sessions)
        for one in sought:
            # A word that no message says may stand in a title of yesterday.
            titled = {it.id for it in left if is_in(one.asked, it.shown_title())}
            said = await self._said(user_id, one, [it.id for it in left if it.id not in titled])
            left = [it for it in left if it.id in titled or it.id in said]
        return left

    async def _said(
        self, user_id: UserId, sought: _Sought, sessions: Sequence[SessionId]
    ) -> set[SessionId]:
        """Those of the sessions in which a message says it."""
        if sought.having is not None:
            return {session for session, said in sought.having.items() if said}
        result: set[SessionId] = set()
        left = list(sessions)
        async for words in self._words(user_id, sought):
            found = await self._terms.among(user_id, words, left)
            result |= {session for (_, session), said in found.items() if said}
            left = [session for session in left if session not in result]
            if not left:
                break
        return result

    async def _words(self, user_id: UserId, sought: _Sought) -> AsyncIterator[list[str]]:
        if not sought.asked.begun:
            yield sought.words
            return
        begin = 0
        for count in _BEGUN:
            end = begin + count
            while len(sought.words) < end:
                # Words that so many sessions have are stepped over, not read through.
                more = await self._terms.beginning(
                    user_id, sought.asked.word, _STRIDE, sought.words[-1]
                )
                if not more:
                    break
                sought.words += dict.fromkeys(it.word for it in more)
            if begin < len(sought.words):
                yield sought.words[begin:end]
            begin = end
