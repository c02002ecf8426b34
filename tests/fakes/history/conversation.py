"""Events as a gateway and a worker publish them, for one session."""

from datetime import UTC, datetime, timedelta

from shared.contracts.chat import CompletionStatus, Message, Timings, Usage
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted, NewMessage, NewTurn
from shared.contracts.history import MessageRef
from shared.contracts.ids import (
    CompletionId,
    MessageId,
    SessionId,
    UserId,
    message_id,
    new_completion_id,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
USER = UserId("ann")
OTHER = UserId("bob")
SESSION = SessionId("00000000-0000-7000-8000-000000000001")


class Turn:
    """One question and its answer."""

    def __init__(
        self,
        number: int = 1,
        *,
        parent_id: MessageId | None = None,
        depth: int = 1,
        text: str = "What is the answer?",
        session_id: SessionId = SESSION,
        user_id: UserId = USER,
        completion_id: CompletionId | None = None,
    ) -> None:
        self.number = number
        self.depth = depth
        self.parent_id = parent_id
        self.text = text
        self.session_id = session_id
        self.user_id = user_id
        self.completion_id = completion_id or new_completion_id()
        self.user_message = message_id(self.completion_id, "user")
        self.answer = message_id(self.completion_id, "assistant")
        self.begin = NOON + timedelta(minutes=number)
        self.place = AnswerPlace(
            session_id=session_id,
            message_id=self.answer,
            parent_id=self.user_message,
            depth=depth + 1,
            turn=number,
            new_message_ids=[self.user_message],
        )

    def next(self, text: str = "And then?") -> "Turn":
        """The turn after this one, on the same branch."""
        return Turn(
            self.number + 1,
            parent_id=self.answer,
            depth=self.depth + 2,
            text=text,
            session_id=self.session_id,
            user_id=self.user_id,
        )

    def accepted(self, **changes: object) -> CompletionAccepted:
        """What the gateway publishes."""
        new = NewMessage(
            id=self.user_message,
            parent_id=self.parent_id,
            depth=self.depth,
            message=Message(role="user", content=self.text),
        )
        title = self.text if self.number == 1 else None
        event = CompletionAccepted(
            completion_id=self.completion_id,
            user_id=self.user_id,
            model="demo",
            accepted_at=self.begin,
            turn=NewTurn(session_id=self.session_id, turn=self.number, messages=[new], title=title),
            place=self.place,
            overdue_after_s=900,
        )
        return event.model_copy(update=changes)

    def completed(self, **changes: object) -> CompletionCompleted:
        """What the worker publishes."""
        event = CompletionCompleted(
            completion_id=self.completion_id,
            user_id=self.user_id,
            model="demo",
            status=CompletionStatus.COMPLETED,
            created_at=self.begin,
            completed_at=self.begin + timedelta(seconds=5),
            text=f"Answer {self.number}",
            finish_reason="stop",
            usage=Usage(prompt_tokens=7, completion_tokens=3, total_tokens=10),
            timings=Timings(first_token_ms=80, total_ms=5000),
            events=3,
            place=self.place,
        )
        return event.model_copy(update=changes)

    def rejected(self) -> CompletionCompleted:
        """What the gateway publishes when the queue is full."""
        return self.completed(
            status=CompletionStatus.REJECTED, text="", finish_reason=None, usage=None, events=0
        )

    def expired(self) -> CompletionCompleted:
        """What ends a turn that no engine saw."""
        return self.completed(
            status=CompletionStatus.EXPIRED, text="", finish_reason=None, usage=None, events=0
        )

    def ref(self) -> MessageRef:
        """The question, as ``session_head`` shows it."""
        digest = Message(role="user", content=self.text).digest()
        return MessageRef(id=self.user_message, role="user", depth=self.depth, digest=digest)


def stateless(number: int = 1, *, text: str = "Hi", user_id: UserId = USER) -> CompletionCompleted:
    """The end of a completion without a session."""
    return Turn(number, user_id=user_id).completed(place=None, text=text)
