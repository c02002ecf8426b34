"""What history needs of its surroundings, in its own words.

Every method of a store raises ``shared.errors.HistoryUnavailable`` when the database is away or
slow, and ``RefusedByStore`` when it will never take this document.
"""

from collections.abc import Sequence
from typing import Protocol

from services.history.message_ports import WordStore
from services.history.records import (
    Advance,
    Change,
    Known,
    MessageRecord,
    OpenCompletion,
    SessionRecord,
    UsageRecord,
)
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId


class RefusedByStore(Exception):
    """The database will never take this document, however often it is offered."""


class TooLargeForStore(RefusedByStore):
    """It is larger than a document may be."""


class TurnStore(WordStore, Protocol):
    """Writes of the recorder: each can come twice and in any order, and changes nothing more."""

    async def owns(self, user_id: UserId, session_id: SessionId) -> bool:
        """Whether the session exists, deleted or not, and is this user's.

        One that is being purged does not exist any more.
        """
        ...

    async def purge_of(self, user_id: UserId) -> PurgeMark | None:
        """That everything of this user goes or went, if that is so."""
        ...

    async def add_messages(self, messages: Sequence[MessageRecord]) -> None:
        """Store those whose id is not taken; a hidden message stays hidden."""
        ...

    async def hide_messages(
        self,
        user_id: UserId,
        session_id: SessionId,
        completion_id: CompletionId,
        ids: Sequence[MessageId],
    ) -> None:
        """Take these messages away for ever, also those that are yet to come."""
        ...

    async def add_usage(self, usage: UsageRecord) -> None:
        """Store it unless the completion has one."""
        ...

    async def advance(self, user_id: UserId, session_id: SessionId, advance: Advance) -> None:
        """Move the session forward; one that does not exist is not made."""
        ...

    async def running_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId
    ) -> str | None:
        """The title that this turn brought, while it is neither kept nor taken back."""
        ...

    async def settle_title(
        self, user_id: UserId, session_id: SessionId, completion_id: CompletionId, *, keep: bool
    ) -> None:
        """Keep the running title, the earliest turn's of all, or take it back."""
        ...

    async def forget(self, user_id: UserId, session_id: SessionId) -> None:
        """Remove this user's messages and terms of a session that is gone."""
        ...

    async def open_completion(self, completion: OpenCompletion) -> None:
        """Remember that somebody owes an end; one that has ended stays ended."""
        ...

    async def end_completion(
        self,
        completion_id: CompletionId,
        user_id: UserId,
        ended_at: int,
        *,
        rejected: bool = False,
    ) -> None:
        """Remember that the end is stored, and whether it was a rejection."""
        ...

    async def forget_completion(self, user_id: UserId, completion_id: CompletionId) -> None:
        """Remove what it cost this user, and that it was there.

        A purge of the user that is under way remembers it, as its frames are to go too.
        """
        ...

    async def known(self, completion_id: CompletionId) -> Known:
        """Which events of the completion are stored wholly."""
        ...

    async def overdue(self, before: int, limit: int) -> list[OpenCompletion]:
        """Completions without an end whose ``overdue_at`` is before ``before``, in no order."""
        ...


class SessionStore(Protocol):
    """Sessions as their owners see them: what is foreign or deleted does not exist."""

    async def create(self, session: SessionRecord) -> SessionRecord | None:
        """Store it unless it exists; ``None`` if the id is another's or deleted."""
        ...

    async def get(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """The session."""
        ...

    async def page(
        self,
        user_id: UserId,
        limit: int,
        before: tuple[int, SessionId] | None,
        *,
        deleted: bool = False,
    ) -> list[SessionRecord]:
        """The newest by (``updated_at``, id) that come before ``before``, newest first.

        With ``deleted``, those that were deleted instead.
        """
        ...

    async def some(
        self, user_id: UserId, ids: Sequence[SessionId], *, deleted: bool = False
    ) -> list[SessionRecord]:
        """Those of these sessions that a page may hold, in no order."""
        ...

    async def change(
        self, user_id: UserId, session_id: SessionId, version: int, change: Change
    ) -> SessionRecord | None:
        """Change it and raise its version by one, if it has this one; the session after it."""
        ...

    async def delete(
        self,
        user_id: UserId,
        session_id: SessionId,
        deleted_at: int,
        *,
        version: int | None = None,
    ) -> SessionRecord | None:
        """Hide the session, if it has this version; gives it as it was."""
        ...

    async def restore(self, user_id: UserId, session_id: SessionId) -> SessionRecord | None:
        """Show a deleted session again; ``None`` if there is none."""
        ...

    async def ping(self) -> None:
        """Ask the database for a sign of life."""
        ...

    async def purge(
        self, deleted_before: int, ended_before: int, limit: int, *, formed_before: int = 0
    ) -> int:
        """Remove up to ``limit`` sessions deleted before, and marks of completions ended before.

        Also copies that were begun before and never finished, and what another purge has begun to
        remove. Gives how many sessions went. Usage stays.
        """
        ...
