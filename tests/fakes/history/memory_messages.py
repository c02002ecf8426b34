"""The messages of ``MemoryStore`` and the words that sessions are found by."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from services.history.message_ports import Having
from services.history.places import Node
from services.history.records import MessageRecord
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import HistoryUnavailable


@dataclass(frozen=True)
class Stub:
    """What is left of a hidden message."""

    session_id: SessionId
    user_id: UserId


class MemoryMessages:
    """Dictionaries; ``read`` counts the messages that each read has given or passed over."""

    def __init__(self) -> None:
        self.stored_messages: dict[MessageId, MessageRecord | Stub] = {}
        self.terms: dict[tuple[UserId, str, SessionId], bool] = {}
        self.available = True
        self.read: list[int] = []
        self.repaired: list[SessionId] = []
        self.read_bytes = 0
        """Of the texts that were given."""

    def message(self, message_id: MessageId) -> MessageRecord:
        """A message that is stored whole."""
        found = self.stored_messages[message_id]
        assert isinstance(found, MessageRecord)
        return found

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("away")

    async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
        self._check()
        for message in messages:
            self.stored_messages.setdefault(message.id, message)

    async def hide_messages(
        self,
        user_id: UserId,
        session_id: SessionId,
        completion_id: CompletionId,
        ids: Sequence[MessageId],
    ) -> None:
        self._check()
        for message_id in ids:
            self.stored_messages[message_id] = Stub(session_id, user_id)

    async def add_terms(
        self, user_id: UserId, session_id: SessionId, terms: Collection[str], *, said: bool
    ) -> None:
        self._check()
        for term in terms:
            key = user_id, term, session_id
            self.terms[key] = self.terms.get(key, False) or said

    def _shown(self, user_id: UserId, session_id: SessionId) -> list[MessageRecord]:
        self._check()
        shown = [
            message
            for message in self.stored_messages.values()
            if isinstance(message, MessageRecord)
            and message.session_id == session_id
            and message.user_id == user_id
        ]
        return sorted(shown, key=lambda it: (it.depth, it.id))

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        found = self._given([it for it in self._shown(user_id, session_id) if it.id in set(ids)])
        self.read_bytes += sum(it.size for it in found)
        return found

    async def nodes(
        self, user_id: UserId, session_id: SessionId, first_depth: int, last_depth: int
    ) -> list[Node]:
        shown = self._shown(user_id, session_id)
        given = self._given([it for it in shown if first_depth <= it.depth <= last_depth])
        return [it.node() for it in given]

    async def newest(self, user_id: UserId, session_id: SessionId) -> Node | None:
        shown = self._shown(user_id, session_id)
        last = max(shown, key=lambda it: (it.turn, it.depth, it.id), default=None)
        return self._given([last])[0].node() if last is not None else None

    async def tree(
        self,
        user_id: UserId,
        session_id: SessionId,
        after: tuple[int, MessageId] | None,
        limit: int,
    ) -> list[Node]:
        shown = self._shown(user_id, session_id)
        rest = [it for it in shown if after is None or (it.depth, it.id) > after]
        return [it.node() for it in self._given(rest[:limit])]

    async def stretch(
        self,
        user_id: UserId,
        session_id: SessionId,
        first: tuple[int, MessageId],
        last: tuple[int, MessageId],
    ) -> list[MessageRecord]:
        shown = self._shown(user_id, session_id)
        found = self._given([it for it in shown if first <= (it.depth, it.id) <= last])
        self.read_bytes += sum(it.size for it in found)
        return found

    async def repair(self, user_id: UserId, session_id: SessionId) -> int:
        self._check()
        self.repaired.append(session_id)
        return 0

    async def at_least(self, user_id: UserId, term: str, count: int, *, begun: bool) -> bool:
        if begun:
            return len(await self.beginning(user_id, term, count)) >= count
        return len(await self.sessions_with(user_id, term, count)) >= count

    async def sessions_with(self, user_id: UserId, term: str, limit: int) -> dict[SessionId, bool]:
        self._check()
        having = {
            session_id: said
            for (owner, word, session_id), said in self.terms.items()
            if (owner, word) == (user_id, term)
        }
        return dict(list(having.items())[:limit])

    async def beginning(
        self, user_id: UserId, start: str, limit: int, after: str | None = None
    ) -> list[Having]:
        self._check()
        having = [
            Having(word, session_id, said)
            for (owner, word, session_id), said in self.terms.items()
            if owner == user_id and word.startswith(start) and (after is None or word > after)
        ]
        return sorted(having, key=lambda it: it.word)[:limit]

    async def among(
        self, user_id: UserId, terms: Iterable[str], sessions: Sequence[SessionId]
    ) -> dict[tuple[str, SessionId], bool]:
        self._check()
        return {
            (term, session_id): self.terms[user_id, term, session_id]
            for term in terms
            for session_id in sessions
            if (user_id, term, session_id) in self.terms
        }

    def _given(self, messages: list[MessageRecord]) -> list[MessageRecord]:
        self.read.append(len(messages))
        return messages

    def _forget(self, gone: Collection[SessionId], user_id: UserId | None = None) -> None:
        self.stored_messages = {
            key: it
            for key, it in self.stored_messages.items()
            if it.session_id not in gone or user_id not in (None, it.user_id)
        }
        self.terms = {
            key: said
            for key, said in self.terms.items()
            if key[2] not in gone or user_id not in (None, key[0])
        }
