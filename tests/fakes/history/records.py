"""Records with sensible values, and all ports of one database."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.history.message_ports import CopyStore, MessageStore, TermStore
from services.history.ports import SessionStore, TurnStore
from services.history.records import MessageRecord, OpenCompletion, SessionRecord, UsageRecord
from shared.contracts.chat import CompletionStatus
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from tests.fakes.history.conversation import SESSION, USER, Turn


@dataclass(frozen=True)
class Stores:
    """All ports on one database."""

    turns: TurnStore
    sessions: SessionStore
    copies: CopyStore
    messages: MessageStore
    terms: TermStore
    usage_totals: Callable[[], Awaitable[list[int]]]
    """The total of each usage record: history itself only writes them."""
    age: Callable[[], Awaitable[None]]
    """Takes away from every document what older versions did not store."""
    begin_purge: Callable[[SessionId], Awaitable[None]]
    """Claims a session as a purge does before it removes anything."""


# A whole second, so that dates with and without a fraction are compared.
T0 = 1_772_366_400_000


def session(number: int = 1, *, user_id: UserId = USER, at: int = T0) -> SessionRecord:
    session_id = SessionId(f"00000000-0000-7000-8000-{number:012d}")
    return SessionRecord(id=session_id, user_id=user_id, created_at=at, updated_at=at)


def message(key: str = "m", *, depth: int = 1, **changes: object) -> MessageRecord:
    record = MessageRecord(
        id=MessageId(key),
        session_id=SESSION,
        user_id=USER,
        completion_id=CompletionId("chatcmpl-1"),
        turn=1,
        depth=depth,
        role="user",
        created_at=T0,
        size=10,
        content="Hello",
    )
    return record.model_copy(update=changes)


def usage(**changes: object) -> UsageRecord:
    record = UsageRecord(
        id=CompletionId("chatcmpl-1"),
        user_id=USER,
        model_used="demo",
        prompt_tokens=1,
        completion_tokens=2,
        total_tokens=3,
        estimated=False,
        status=CompletionStatus.COMPLETED,
        created_at=T0,
        day="2026-03-01",
        day_model="2026-03-01|demo",
    )
    return record.model_copy(update=changes)


def opened(name: str = "chatcmpl-1", *, overdue_at: int = T0) -> OpenCompletion:
    return OpenCompletion(
        id=CompletionId(name),
        user_id=USER,
        model="demo",
        accepted_at=T0,
        overdue_at=overdue_at,
        place=Turn(completion_id=CompletionId(name)).place,
    )
