"""What reading, copying and finding messages needs of the database; errors as in ``ports``."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from services.history.places import Node
from services.history.records import MessageRecord, SessionRecord
from shared.contracts.ids import MessageId, SessionId, UserId


class MessageStore(Protocol):
    """Visible messages of one session; no method but ``repair`` reads more than it gives."""

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        """Those of these messages that are visible, in no order."""
        ...

    async def nodes(
        self, user_id: UserId, session_id: SessionId, first_depth: int, last_depth: int
    ) -> list[Node]:
        """All messages of all branches between these depths, both included, by depth and id."""
        ...

    async def newest(self, user_id: UserId, session_id: SessionId) -> Node | None:
        """The last one by turn, then depth, then id."""
        ...

    async def tree(
        self,
        user_id: UserId,
        session_id: SessionId,
        after: tuple[int, MessageId] | None,
        limit: int,
    ) -> list[Node]:
        """Messages of all branches by depth and id, those that come after ``after``."""
        ...

    async def stretch(
        self,
        user_id: UserId,
        session_id: SessionId,
        first: tuple[int, MessageId],
        last: tuple[int, MessageId],
    ) -> list[MessageRecord]:
        """From one (depth, id) to another, both included, of all branches, in that order."""
        ...

    async def repair(self, user_id: UserId, session_id: SessionId) -> int:
        """Bring documents of an older version into the order that the others use.

        Gives how many there were.
        """
        ...


class CopyStore(Protocol):
    """Sessions that come into being with all their messages: nobody sees half of one."""

    async def find(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """The session as it is stored, also one that is unseen, deleted or being purged."""
        ...

    async def form(self, session: SessionRecord) -> SessionRecord | None:
        """Begin to make this one, unseen, unless it exists; ``None`` as ``create`` has it.

        Gives it as it is stored: ``forming`` until ``show`` has been called.
        """
        ...

    async def abandon(self, user_id: UserId, session_id: SessionId) -> None:
        """Make it no further: remove the session if it has not been shown."""
        ...

    async def show(self, session: SessionRecord) -> SessionRecord | None:
        """Let a session that was formed exist, with this ``leaf``, turn and message count."""
        ...


class WordStore(Protocol):
    """How sessions come to be found by what their messages say."""

    async def messages(
        self, user_id: UserId, session_id: SessionId, ids: Sequence[MessageId]
    ) -> list[MessageRecord]:
        """Those of these messages that are stored and visible, in no order."""
        ...

    async def add_terms(
        self, user_id: UserId, session_id: SessionId, terms: Collection[str], *, said: bool
    ) -> None:
        """Let the session be found by these words; ``said`` in a message, not only in a title."""
        ...


class Having(NamedTuple):
    """A word, a session that has it, and whether a message says it."""

    word: str
    session_id: SessionId
    said: bool


class TermStore(Protocol):
    """The words that sessions are found by, of titles of yesterday too."""

    async def at_least(self, user_id: UserId, term: str, count: int, *, begun: bool) -> bool:
        """Whether the word is had that often: once by each session, ``begun`` by each such word.

        It costs less than reading as many.
        """
        ...

    async def sessions_with(self, user_id: UserId, term: str, limit: int) -> dict[SessionId, bool]:
        """Up to ``limit`` of the user's sessions with this word, and whether a message says it."""
        ...

    async def beginning(
        self, user_id: UserId, start: str, limit: int, after: str | None = None
    ) -> list[Having]:
        """Up to ``limit`` words that begin so, each with a session that has it, in their order.

        A word of several sessions comes several times. With ``after``, only later words.
        """
        ...

    async def among(
        self, user_id: UserId, terms: Iterable[str], sessions: Sequence[SessionId]
    ) -> dict[tuple[str, SessionId], bool]:
        """Which of these words which of these sessions has, and whether a message says it."""
        ...
