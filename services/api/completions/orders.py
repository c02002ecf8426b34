"""What a client wants, and how patient the gateway is with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.api.access.caller import Caller
from services.api.ports.sessions import Held
from shared.contracts.chat import FunctionTool, Message, ResponseFormat, Sampling
from shared.contracts.history import MessageRef, SessionHead
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId


@dataclass(frozen=True)
class TurnPlan:
    """A turn whose context the server has built, and what it was built on."""

    held: Held | None
    """How the session stood; a turn that has begun since then makes the plan void."""
    head: SessionHead
    parent: MessageRef | None
    """What the new messages follow, or the answer where there are none."""
    new: Sequence[Message]
    omitted: int
    """Older messages of the branch that the model is not shown."""
    droppable: int
    """Messages after the leading system ones that may be left out, too."""
    beside: Sequence[MessageId] = ()
    """What follows ``parent`` already, the oldest first."""


@dataclass(frozen=True)
class Order:
    """What a client wants, in plain values, validated."""

    completion_id: CompletionId
    created_at: datetime
    user_id: UserId
    model: str
    messages: Sequence[Message]
    sampling: Sampling = field(default_factory=Sampling)
    tools: Sequence[FunctionTool] = ()
    unavailable_tools: Sequence[str] = ()
    """Names of tools that are asked for and not offered: nobody has them, or they are off."""
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    include_usage: bool = False
    session_id: SessionId | None = None
    plan: TurnPlan | None = None
    resumes: bool = False
    """The client asked for an answer that it can come back to."""

    keyed: bool = False
    """It has an idempotency key: its client may come again with it."""

    caller: Caller | None = None
    """Whose limits it is counted by, where that is more than the user."""

    @property
    def resumable(self) -> bool:
        """Whether the answer goes on for a grace when its client has gone."""
        return self.resumes or self.keyed or self.session_id is not None


@dataclass(frozen=True)
class Patience:
    """How long and how much a completion may take, in seconds and bytes."""

    waiting: float
    generating: float
    silence: float
    mailbox_bytes: int
    grace: float


@dataclass(frozen=True)
class Timing:
    """The rhythm of a streamed answer, in seconds."""

    header_hold: float
    ping_interval: float
    send_timeout: float
