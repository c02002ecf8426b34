"""One turn as sockets see it: how it stands, and what is said of its end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.api.completions.answers import to_message_body
from services.api.completions.attaching import Reading
from services.api.completions.translation import failure_of
from services.api.ports.queue_news import QueueNews
from services.api.schemas.sockets import (
    AiMessageComplete,
    AiMessageStopped,
    MessageRejected,
    ServerMessage,
    SocketError,
)
from services.api.sessions.turn_messages import answer_of
from services.api.sockets.spoken import Spoken
from services.api.spelling import SOCKETS, told
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionCompleted
from shared.contracts.history import StoredMessage
from shared.contracts.ids import CompletionId
from shared.errors import Cancelled, ChatError, DeadlineExceeded, RateLimited


@dataclass
class Turn:
    """One turn as it is shown."""

    completion_id: CompletionId
    question: StoredMessage | None = None
    reading: Reading | None = None
    """Who asked here reads what it asked for; anything else is followed."""
    place: AnswerPlace | None = None
    """Known once it begins."""
    unavailable_tools: Sequence[str] = ()
    missed: bool = False
    """It was found after a gap: there may have been others before it."""
    spoken: Spoken = field(default_factory=Spoken)
    news: QueueNews | None = None
    shown: bool = False
    """Whether its beginning was shown to those who are here."""
    over: bool = False
    told: str | None = None
    """The socket that asked for it, and has been told already that it was refused."""

    @property
    def waits(self) -> bool:
        """Whether nothing of an answer has come."""
        return self.spoken.index < 0


def refusal(error: ChatError, completion_id: CompletionId | None = None) -> SocketError:
    """A failure as sockets tell it."""
    message, param = told(error, SOCKETS)
    seconds = error.retry_after if isinstance(error, RateLimited) else None
    return SocketError(
        message=message,
        code=error.code,
        param=param,
        completion_id=completion_id,
        retry_after=math.ceil(seconds) if seconds is not None else None,
    )


def last_word(turn: Turn, end: CompletionCompleted) -> ServerMessage:
    """What is said of an end."""
    completion_id = turn.completion_id
    if end.status is CompletionStatus.REJECTED:
        asked = turn.question.id if turn.question is not None else None
        return MessageRejected(message_id=asked, completion_id=completion_id)
    if not end.text and not end.tool_calls:
        end = end.model_copy(update={"text": turn.spoken.text})
    answer = answer_of(end)
    body = to_message_body(answer) if answer is not None else None
    if end.status is CompletionStatus.COMPLETED and body is not None:
        return AiMessageComplete(message=body, completion_id=completion_id)
    said = body if end.text or end.thinking or end.tool_calls else None
    failure = failure_of(end)
    if isinstance(failure, Cancelled):
        return AiMessageStopped(message=said, completion_id=completion_id)
    error = refusal(failure or DeadlineExceeded("The answer has no end."), completion_id)
    return error.model_copy(update={"ai_message": said})
