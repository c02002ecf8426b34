"""The request that a gateway queues: everything a worker needs, so that it asks nobody back."""

from datetime import datetime, timedelta

from pydantic import Field

from shared.contracts.chat import FunctionTool, Message, ResponseFormat, Sampling
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.contracts.wire import WireModel


class AnswerPlace(WireModel):
    """Where in a session the answer of a completion belongs.

    ``turn`` counts the session's turns, regenerations too: the later one is the active branch.
    ``new_message_ids`` are the messages that ``accepted`` brought: a rejection hides them again.
    """

    session_id: SessionId
    message_id: MessageId
    parent_id: MessageId | None = None
    depth: int = Field(ge=1)
    turn: int = Field(ge=1)
    new_message_ids: list[MessageId] = Field(default_factory=list)
    sibling_ids: list[MessageId] | None = None
    """As in ``StoredMessage``: it is another answer to a question that has one."""


class RunCompletion(WireModel):
    """Command: run this completion. Published once on ``chat.requests.<model>.<lane>``."""

    completion_id: CompletionId
    reply_subject: str
    """Where the frames go: ``chat.chunks.<gateway>.<completion_id>``."""
    user_id: UserId
    key_id: str | None = None
    """The API key that it was asked for with."""
    model: str
    """The engine's full name of the model, with its tag."""
    display_model: str
    """The name that the client used; every chunk repeats it."""
    created_at: datetime
    messages: list[Message]
    sampling: Sampling = Sampling()
    tools: list[FunctionTool] = Field(default_factory=list)
    response_format: ResponseFormat = ResponseFormat()
    think: bool | None = None
    """Whether the model may think before it answers; absent is the model's own default."""
    include_usage: bool = False
    """Whether the client asked for the extra usage chunk; the others then say ``usage: null``."""
    whole: bool | None = None
    """Whether its client gets the answer in one piece: then it may be made anew, unseen."""
    place: AnswerPlace | None = None
    generating_deadline: timedelta
    """From the pull on, by the worker's monotonic clock, over all that it does for this request."""
    droppable: int | None = None
    """How many of the messages after the leading system ones may be left out, the oldest first, if
    the engine finds the prompt too long."""
    omitted: int | None = None
    """How many messages of its session were left out already."""
    window: int | None = None
    """Tokens that the model's context holds, as far as its workers said so when it was queued."""
    watch_timeout: timedelta | None = None
    """A worker that hears no ``Watched`` for so long cancels by itself; absent means never."""
